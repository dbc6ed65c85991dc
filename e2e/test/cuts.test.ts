import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Origin, startOrigin } from '../world/origin.ts'
import type { Running } from '../world/program.ts'
import { startWorld, type World } from '../world/world.ts'

/** Sends without end, and never finishes: whoever sees an end was lied to. */
function flood(socket: Socket): void {
  const chunk = randomBytes(64 * 1024)
  const more = () => {
    while (!socket.destroyed && socket.write(chunk));
  }
  socket.on('drain', more)
  more()
}

describe('a cut in mid-transfer is told as one', () => {
  let origin: Origin
  let world: World
  beforeAll(async () => {
    origin = await startOrigin(flood)
    world = await startWorld({ hostname: 'db.localhost', service: `tcp://127.0.0.1:${origin.port}` })
  })
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]()
    await origin?.[Symbol.asyncDispose]()
  })

  /** What becomes of a transfer on stdout and of one on a local port when something happens in its middle. */
  async function duringTransfers(happen: () => Promise<unknown> | unknown) {
    const stdio = world.access('tcp', ['--json'])
    const listener = world.access('tcp', ['--url', 'localhost:0', '--json'])
    const port = Number((await listener.says(/"address":"127\.0\.0\.1:(\d+)"/))[1])
    const socket = endingOf(port)
    let received = 0
    stdio.child.stdout?.on('data', chunk => (received += chunk.length))
    await until(() => received > 4_000_000 && socket.received() > 4_000_000)
    await happen()
    const exit = await stdio.exit
    const told = JSON.parse(stdio.stderr.split('\n').findLast(line => line.startsWith('{"error"')) ?? '{}').error
    const ending = await socket.ending
    await listener.stop('SIGINT')
    return { exit, code: told?.code, local: ending }
  }

  it('the edge killed with -9: SESSION_LOST, and the local program gets a reset, never an end', async () => {
    expect(await duringTransfers(() => world.edge.stop('SIGKILL'))).toEqual({
      exit: 41,
      code: 'SESSION_LOST',
      local: 'ECONNRESET',
    })
    await world.startEdge()
    await world.daemon.says(
      /connected to the edge[\s\S]*connected to the edge[\s\S]*connected to the edge[\s\S]*connected to the edge[\s\S]*connected to the edge/,
    )
  })

  it('the daemon killed with -9', async () => {
    const { exit, code, local } = await duringTransfers(() => world.daemon.stop('SIGKILL'))
    expect([exit >= 40 && exit < 50, ['STREAM_CUT', 'SESSION_LOST'].includes(code), local]).toEqual([
      true,
      true,
      'ECONNRESET',
    ])
    await world.startDaemon()
  })

  it('the edge alive but silent (SIGSTOP): both who wait for it notice, within 15 s of silence', async () => {
    const before = world.daemon.stderr.length
    const stopped = await duringTransfers(() => world.edge.child.kill('SIGSTOP'))
    expect(stopped).toEqual({ exit: 43, code: 'PEER_SILENT', local: 'ECONNRESET' })
    await until(() => /connection to the edge ended/.test(world.daemon.stderr.slice(before)))
    world.edge.child.kill('SIGCONT')
    await until(() => /connected to the edge/.test(world.daemon.stderr.slice(before)), 60)
  })

  it('the service reset in the middle', async () => {
    const { exit, code, local } = await duringTransfers(() => {
      for (const socket of origin.open) socket.resetAndDestroy()
    })
    expect({ exit, code, local }).toEqual({ exit: 40, code: 'STREAM_CUT', local: 'ECONNRESET' })
  })

  it('and none of the programs grows while a reader stops reading', async () => {
    const listener = world.access('tcp', ['--url', 'localhost:0', '--json'])
    const port = Number((await listener.says(/"address":"127\.0\.0\.1:(\d+)"/))[1])
    const socket = connect(port, '127.0.0.1').on('error', () => {})
    await new Promise(resolve => socket.once('data', resolve))
    const programs: readonly Running[] = [world.edge, world.daemon, listener]
    const before = programs.map(residentMiB)
    socket.pause()
    await new Promise(resolve => setTimeout(resolve, 4_000)) // the service would send gigabytes meanwhile
    const sent = origin.open.values().next().value?.bytesWritten ?? 0
    await new Promise(resolve => setTimeout(resolve, 1_000))
    expect((origin.open.values().next().value?.bytesWritten ?? 0) - sent).toBeLessThan(2 * 1024 * 1024)
    for (const [at, program] of programs.entries()) expect(residentMiB(program) - (before[at] ?? 0)).toBeLessThan(32)
    socket.destroy()
    await listener.stop('SIGINT')
  })
})

function residentMiB({ child }: Running): number {
  const pages = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1]
  return Number(pages) / 1024
}

/** How a connection to a local port ends: `end`, or the error's code. */
function endingOf(port: number): { readonly ending: Promise<string>; received(): number } {
  let bytes = 0
  const socket = connect(port, '127.0.0.1')
  socket.on('data', chunk => (bytes += chunk.length))
  return {
    received: () => bytes,
    ending: new Promise(resolve =>
      socket
        .once('end', () => resolve('end'))
        .once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? '')),
    ),
  }
}

async function until(true_: () => boolean, seconds = 30): Promise<void> {
  for (const limit = Date.now() + seconds * 1000; !true_(); ) {
    if (Date.now() > limit) throw new Error('too slow')
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}
