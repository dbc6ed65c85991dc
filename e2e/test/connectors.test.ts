import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Origin, startOrigin } from '../world/origin.ts'
import type { Running } from '../world/program.ts'
import { startWorld, type World } from '../world/world.ts'

/** Sends back what comes, at once. */
function echo(socket: Socket): void {
  socket.on('data', chunk => socket.write(chunk)).on('end', () => socket.end())
}

describe('two daemons of one tunnel', () => {
  let origin: Origin
  let world: World
  let second: Running
  let port: number
  beforeAll(async () => {
    origin = await startOrigin(echo)
    world = await startWorld({ hostname: 'db.localhost', service: `tcp://127.0.0.1:${origin.port}` })
    second = await startSecond()
    const listener = world.access('tcp', ['--url', 'localhost:0', '--json'])
    port = Number((await listener.says(/"address":"127\.0\.0\.1:(\d+)"/))[1])
  })
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]()
    await origin?.[Symbol.asyncDispose]()
  })

  async function startSecond(): Promise<Running> {
    const daemon = world.daemonWith(['--token-file', join(world.folder, 'secrets', 'tunnel')])
    await allConnected(daemon, 0)
    return daemon
  }

  it('row 136: one is killed with -9: its connections are cut, the other’s live on, new ones go to the other', async () => {
    const lines = await Promise.all(Array.from({ length: 32 }, () => openLine(port)))
    await second.stop('SIGKILL')
    // Those on the dead daemon end, as cuts; which ones they are, nobody needs to know.
    const alive = await settled(lines)
    expect(alive.length).toBeGreaterThan(0)
    expect(alive.length).toBeLessThan(lines.length)
    for (const { ended } of lines) expect([undefined, 'ECONNRESET']).toContain(ended())
    const later = await Promise.all(Array.from({ length: 32 }, () => openLine(port)))
    for (const line of [...alive, ...later]) expect(await line.ask('still there')).toBe('still there')
    for (const { socket } of [...lines, ...later]) socket.destroy()
    second = await startSecond()
  })

  it('row 137: the edge is killed with -9 and starts again: both come back by themselves, and so does the client', async () => {
    const before = [world.daemon, second].map(daemon => daemon.stderr.length)
    await world.edge.stop('SIGKILL')
    await world.startEdge()
    await Promise.all([world.daemon, second].map((daemon, at) => allConnected(daemon, before[at] ?? 0)))
    const line = await openLine(port) // by the same client, which was never told anything
    expect(await line.ask('again')).toBe('again')
    line.socket.destroy()
  })

  it('row 138: a daemon that is asked to stop takes nothing new, and finishes what is open', async () => {
    const lines = await Promise.all(Array.from({ length: 16 }, () => openLine(port)))
    second.child.kill('SIGTERM')
    await second.says(/stopping/)
    const later = await Promise.all(Array.from({ length: 16 }, () => openLine(port)))
    for (const line of [...lines, ...later]) expect(await line.ask('during the drain')).toBe('during the drain')
    expect(second.child.exitCode).toBe(null) // it waits for its half of the sixteen
    for (const { socket } of lines) socket.end()
    expect(await second.exit).toBe(0)
    for (const line of later) expect(await line.ask('after it')).toBe('after it')
    for (const { socket } of later) socket.destroy()
    second = await startSecond()
  })

  it('row 138: a second signal does not wait', async () => {
    const lines = await Promise.all(Array.from({ length: 16 }, () => openLine(port)))
    second.child.kill('SIGTERM')
    await second.says(/stopping/)
    second.child.kill('SIGTERM')
    await second.exit // the default grace period would be 30 s
    const alive = await settled(lines)
    expect(alive.length).toBeLessThan(lines.length)
    for (const { socket } of lines) socket.destroy()
  })
})

interface Line {
  readonly socket: Socket
  /** undefined while it is open; `end`, or the error’s code. */
  ended(): string | undefined
  ask(text: string): Promise<string>
}

/** A connection to the local port that has carried a word there and back. */
async function openLine(port: number): Promise<Line> {
  let ended: string | undefined
  let heard = ''
  let wake = () => {}
  const note = (how: string) => {
    ended ??= how
    wake()
  }
  const socket = connect(port, '127.0.0.1')
    .on('data', chunk => {
      heard += chunk
      wake()
    })
    .on('end', () => note('end'))
    .on('error', (error: NodeJS.ErrnoException) => note(error.code ?? ''))
  const line: Line = {
    socket,
    ended: () => ended,
    async ask(text) {
      heard = ''
      socket.write(text)
      while (heard.length < text.length && ended === undefined) {
        const { promise, resolve } = Promise.withResolvers<void>()
        wake = resolve
        await promise
      }
      return ended ?? heard
    },
  }
  expect(await line.ask('hello')).toBe('hello')
  return line
}

/** Asks each until it answers or has ended: what is on a dead daemon is noticed by then. */
async function settled(lines: readonly Line[]): Promise<readonly Line[]> {
  const answers = await Promise.all(lines.map(line => line.ask('alive?')))
  return lines.filter((_, at) => answers[at] === 'alive?')
}

/** Its four connections are up, counted in what it said since `from`. */
async function allConnected(daemon: Running, from: number): Promise<void> {
  const limit = Date.now() + 60_000
  const count = () => daemon.stderr.slice(from).split('connected to the edge').length - 1
  while (count() < 4) {
    if (Date.now() > limit) throw new Error(`too slow: ${daemon.stderr.slice(from)}`)
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}
