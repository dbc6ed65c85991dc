import { closeSync, openSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { echoThenTail, type Origin, startOrigin } from '../world/origin.ts'
import { start } from '../world/program.ts'
import { startWorld, type World } from '../world/world.ts'

// What becomes of a client at work when the world around it changes.
describe('a client whose access ends, or whose disk is full', () => {
  let origin: Origin
  let world: World
  beforeAll(async () => {
    origin = await startOrigin(echoThenTail)
    world = await startWorld({ hostname: 'db.localhost', service: `tcp://127.0.0.1:${origin.port}` })
  })
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]()
    await origin?.[Symbol.asyncDispose]()
  })

  const admin = async (...args: string[]): Promise<string> => {
    const running = start('postern', ['admin', ...args, '--data', join(world.folder, 'edge')])
    expect([await running.exit, running.stderr.match(/\([A-Z_]+[,)].*/)?.[0]]).toEqual([0, undefined])
    return running.stdout
  }
  const newToken = async (name: string): Promise<readonly string[]> => {
    const file = join(world.folder, 'secrets', name)
    const { id } = JSON.parse(await admin('service-token', 'create', name, '--out', file, '--json'))
    await admin('policy', 'allow', 'db.localhost', '--service-token', name)
    return ['--id', id, '--secret-file', file]
  }

  it('a pipe ends with ACCESS_ENDED when its token is revoked, though nobody ended it; another’s goes on', async () => {
    const credential = await newToken('laptop')
    const [mine, other] = [world.accessAs(credential, 'tcp'), world.access('tcp')]
    await Promise.all([mine.says(/HELLO/), other.says(/HELLO/)])
    await admin('service-token', 'revoke', 'laptop')
    expect(await mine.exit).toBe(42)
    expect(mine.stderr).toMatch(/ACCESS_ENDED, said by the edge/)
    other.child.stdin?.end('abc')
    expect([await other.exit, other.stdout]).toEqual([0, `HELLO\nabc${'t'.repeat(1000)}`])
  })

  it('a forward tells it, resets what is open, and goes on listening: each new connection is reset, and told', async () => {
    const credential = await newToken('desktop')
    const flags = ['--url', 'localhost:0']
    const [told, shown] = [
      world.accessAs(credential, 'tcp', [...flags, '--json']),
      world.accessAs(credential, 'tcp', flags),
    ]
    const port = Number((await told.says(/"address":"127\.0\.0\.1:(\d+)"/))[1])
    await shown.says(/Ctrl-C ends it/)
    expect(await ends(port)).toBe('HELLO')
    const open = connect(port, '127.0.0.1')
    const cut = new Promise(resolve => open.once('error', (error: NodeJS.ErrnoException) => resolve(error.code)))
    await new Promise(resolve => open.once('data', resolve))
    const before = origin.connections
    await admin('service-token', 'revoke', 'desktop')
    expect(await cut).toBe('ECONNRESET')
    await shown.says(/access ended; .*next="Get a valid credential/)
    expect([await ends(port), await ends(port)]).toEqual(['ECONNRESET', 'ECONNRESET'])
    await told.says(/(?:"event":"failed"[\s\S]*?){2}/)
    const events = told.stdout.split('\n').flatMap(line => (line ? [JSON.parse(line)] : []))
    expect(events.map(({ event, code }) => [event, code])).toEqual([
      ['listening', undefined],
      ['lost', 'ACCESS_ENDED'],
      ['failed', 'TOKEN_REVOKED'],
      ['failed', 'TOKEN_REVOKED'],
    ])
    // Of the admission that ended: what finds it in the audit log.
    expect(events[1]).toMatchObject({ requestId: expect.stringMatching(/\S{8,}/) })
    expect(events[2]).toMatchObject({ requestId: expect.stringMatching(/\S{8,}/) })
    expect(origin.connections).toBe(before)
    expect(await told.stop('SIGINT')).toBe(0)
  })

  it('what could not be written to stdout is no success', async () => {
    const full = openSync('/dev/full', 'w')
    const args = ['access', 'tcp', '--hostname', world.address, ...world.credential, ...world.trust]
    try {
      const one = start('postern', args, { stdio: ['pipe', full, 'pipe'] })
      one.child.stdin?.end('abc')
      expect([await one.exit, one.stderr]).toEqual([40, expect.stringContaining('stdout cannot be written (ENOSPC)')])
    } finally {
      closeSync(full)
    }
    const gone = world.access('tcp') // `… | head -1`: its reader has what it wanted
    gone.child.stdout?.destroy()
    gone.child.stdin?.end('abc')
    expect([await gone.exit, gone.stderr]).toEqual([0, ''])
  })
})

/** What a connection gets: the first word, or how it was refused. */
function ends(port: number): Promise<string | undefined> {
  return new Promise(resolve => {
    const socket = connect(port, '127.0.0.1')
    socket
      .once('data', chunk => {
        resolve(String(chunk).slice(0, 5))
        socket.destroy()
      })
      .once('end', () => resolve('an end'))
      .once('error', (error: NodeJS.ErrnoException) => resolve(error.code))
  })
}
