import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { echoThenTail, type Origin, startOrigin } from '../world/origin.ts'
import type { Running } from '../world/program.ts'
import { startWorld, type World } from '../world/world.ts'

interface Told {
  readonly exit: number
  readonly error: {
    readonly code: string
    readonly speaker?: string
    readonly requestId?: string
    readonly next: string
    readonly message: string
  }
  readonly stdout: string
}

async function told(running: Running): Promise<Told> {
  running.child.stdin?.on('error', () => {})
  running.child.stdin?.end('x')
  const exit = await running.exit
  const line = running.stderr.split('\n').find(one => one.startsWith('{"error"'))
  if (!line) throw new Error(`exit ${exit}, no error told:\n${running.stderr}`)
  return { exit, error: JSON.parse(line).error, stdout: running.stdout }
}

describe('each failure has its own message and exit code', () => {
  let origin: Origin
  let world: World
  const json = ['--json']
  beforeAll(async () => {
    origin = await startOrigin(echoThenTail)
    world = await startWorld({ hostname: 'db.localhost', service: `tcp://127.0.0.1:${origin.port}` })
  })
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]()
    await origin?.[Symbol.asyncDispose]()
  })
  let before = 0
  beforeEach(() => {
    before = origin.connections
  })

  it('lets in who may enter: the twin of every refusal below', async () => {
    const running = world.access('tcp')
    running.child.stdin?.end('x')
    expect([await running.exit, origin.connections - before]).toEqual([0, 1])
  })

  it('a wrong secret: AUTH_REJECTED, nobody reaches the service', async () => {
    const wrong = join(world.folder, 'wrong')
    writeFileSync(wrong, `psts_${'A'.repeat(43)}`, { mode: 0o600 })
    const { exit, error, stdout } = await told(
      world.accessAs(['--id', world.credential[1] ?? '', '--secret-file', wrong], 'tcp', json),
    )
    expect({ exit, code: error.code, speaker: error.speaker, stdout, came: origin.connections - before }).toEqual({
      exit: 11,
      code: 'AUTH_REJECTED',
      speaker: 'edge',
      stdout: '',
      came: 0,
    })
    expect(error.requestId).toMatch(/\S{8,}/)
    expect(error.next).not.toBe('')
  })

  it('no credential: a usage error before anything is dialled', async () => {
    const { exit, error } = await told(world.accessAs(['--auth', 'service-token'], 'tcp', json))
    expect({ exit, code: error.code, came: origin.connections - before }).toEqual({
      exit: 2,
      code: 'OPTION_MISSING',
      came: 0,
    })
    expect(error.message).toContain('--secret')
  })

  it('an unknown hostname: NOT_FOUND, as a stranger is told', async () => {
    const { exit, error } = await told(world.access('tcp', ['--hostname', `other.localhost:${world.port}`, ...json]))
    expect({ exit, code: error.code, came: origin.connections - before }).toEqual({
      exit: 20,
      code: 'NOT_FOUND',
      came: 0,
    })
  })

  it('an edge that is not there: EDGE_UNREACHABLE', async () => {
    const { exit, error } = await told(world.access('tcp', ['--hostname', 'db.localhost:1', ...json]))
    expect({ exit, code: error.code }).toEqual({ exit: 21, code: 'EDGE_UNREACHABLE' })
  })

  it('an edge nobody vouches for: EDGE_UNTRUSTED', async () => {
    const { exit, error } = await told(world.accessAs(world.credential, 'tcp', json, { trust: [] }))
    expect({ exit, code: error.code, came: origin.connections - before }).toEqual({
      exit: 22,
      code: 'EDGE_UNTRUSTED',
      came: 0,
    })
  })

  it('a hostname that is a trick: HOSTNAME_INVALID before anything runs', async () => {
    for (const hostname of ['-oProxyCommand=calc', '$(id)', 'a b', '%h']) {
      const { exit, error } = await told(world.access('tcp', [`--hostname=${hostname}`, ...json]))
      expect({ exit, code: error.code }).toEqual({ exit: 2, code: 'HOSTNAME_INVALID' })
    }
  })

  it('a service that is down: ORIGIN_REFUSED, and no internal address in what is told', async () => {
    const { port } = origin
    await origin[Symbol.asyncDispose]()
    const { exit, error } = await told(world.access('tcp', json))
    origin = await startOrigin(echoThenTail, port)
    expect({ exit, code: error.code, speaker: error.speaker }).toEqual({
      exit: 32,
      code: 'ORIGIN_REFUSED',
      speaker: 'service',
    })
    expect(JSON.stringify(error)).not.toContain(String(port))
    expect(JSON.stringify(error)).not.toContain('127.0.0.1')
  })

  it('a tunnel that is down: TUNNEL_OFFLINE; and it works again when the daemon is back', async () => {
    await world.daemon.stop()
    const { exit, error } = await told(world.access('tcp', json))
    expect({ exit, code: error.code, came: origin.connections - before }).toEqual({
      exit: 30,
      code: 'TUNNEL_OFFLINE',
      came: 0,
    })
    await world.startDaemon()
    const running = world.access('tcp')
    running.child.stdin?.end('x')
    expect(await running.exit).toBe(0)
  })

  it('a daemon with a wrong token: says so and ends, instead of knocking for ever', async () => {
    const wrong = join(world.folder, 'wrong-tunnel')
    writeFileSync(wrong, `ptt_${Buffer.from(JSON.stringify({ t: 'home', s: 'A'.repeat(43) })).toString('base64url')}`, {
      mode: 0o600,
    })
    const { exit, error } = await told(world.daemonWith(['--token-file', wrong, ...json]))
    expect({ exit, code: error.code }).toEqual({ exit: 11, code: 'AUTH_REJECTED' })
  })
})
