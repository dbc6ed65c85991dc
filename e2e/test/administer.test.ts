import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '@postern/dev'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { temporaryFolder } from '../world/folder.ts'
import { echoThenTail, type Origin, startOrigin } from '../world/origin.ts'
import { type Running, start } from '../world/program.ts'

// An edge from nothing, by the programs alone, in the order of docs/admin.md: set up, made, used, rotated, taken away.
describe('an edge that is administered by command line', () => {
  const folder = temporaryFolder()
  const said: Running[] = []
  const secrets: string[] = []
  let port: number
  let origin: Origin
  let other: Origin
  let edge: Running
  let daemon: Running

  const inFolder = (name: string) => join(folder.path, name)
  function begin(...[name, ...args]: Parameters<typeof start>): Running {
    const running = start(name, ...args)
    said.push(running)
    return running
  }
  /** Runs `postern` to its end; its state is in a home of its own. */
  async function postern(...args: string[]) {
    const running = begin('postern', args, { env: { POSTERN_HOME: inFolder('home'), HOME: folder.path } })
    running.child.stdin?.end()
    return { exit: await running.exit, out: running.stdout, err: running.stderr }
  }
  async function done(...args: string[]): Promise<string> {
    const { exit, out, err } = await postern(...args)
    expect([exit, err.match(/\([A-Z_]+[,)].*/)?.[0]]).toEqual([0, undefined])
    return out
  }
  async function token(name: string): Promise<readonly string[]> {
    const { id, secret } = JSON.parse(await done('admin', 'service-token', 'create', name, '--json'))
    secrets.push(secret)
    writeFileSync(inFolder(name), secret, { mode: 0o600 })
    return ['--id', id, '--secret-file', inFolder(name)]
  }
  const trust = () => ['--ca', inFolder('edge/ca/ca.pem')]
  function access(hostname: string, credential: readonly string[], extra: readonly string[] = []): Running {
    return begin('postern', ['access', 'tcp', '--hostname', `${hostname}:${port}`, ...trust(), ...credential, ...extra])
  }
  async function asked(hostname: string, credential: readonly string[]) {
    const running = access(hostname, credential)
    running.child.stdin?.end('x')
    return { exit: await running.exit, out: running.stdout, err: running.stderr }
  }
  const daemonFile = (hostnames: Readonly<Record<string, number>>) =>
    JSON.stringify({
      edge: `https://edge.localhost:${port}`,
      ca: inFolder('edge/ca/ca.pem'),
      tokenFile: inFolder('tunnel-token'),
      ingress: Object.entries(hostnames).map(([hostname, at]) => ({ hostname, service: `tcp://127.0.0.1:${at}` })),
    })

  beforeAll(async () => {
    origin = await startOrigin(echoThenTail)
    other = await startOrigin(socket => socket.end('the other one\n'))
    port = await freePort()
    const init = begin('postern-edge', ['init', '--data', inFolder('edge'), '--team-domain', 'edge.localhost'])
    expect(await init.exit).toBe(0)
    edge = begin('postern-edge', [
      'run',
      '--data',
      inFolder('edge'),
      '--listen',
      `127.0.0.1:${port}`,
      '--log-level',
      'debug',
    ])
    await edge.says(/edge listens/)
    await edge.says(/setup-token-file/)
    secrets.push(readFileSync(inFolder('edge/setup-token'), 'utf8').trim())
  })
  afterAll(async () => {
    await Promise.all(said.map(running => running.stop('SIGKILL')))
    await origin?.[Symbol.asyncDispose]()
    await other?.[Symbol.asyncDispose]()
    folder[Symbol.dispose]()
  })

  const login = () => [
    '--edge',
    `https://edge.localhost:${port}`,
    ...trust(),
    '--setup-token-file',
    inFolder('edge/setup-token'),
  ]

  it('row 109: nobody administers it before the setup token; who has it does, once', async () => {
    const before = await postern('admin', 'status')
    expect([before.exit, before.out]).toEqual([2, ''])
    const kept = inFolder('setup-kept')
    writeFileSync(kept, readFileSync(inFolder('edge/setup-token')), { mode: 0o600 })
    await done('admin', 'login', ...login(), '--name', 'me')
    expect(await done('admin', 'whoami')).toContain('admin:me')
    const again = await postern('admin', 'login', ...login().slice(0, -1), kept)
    expect(again.exit).toBe(11)
  })

  it('a tunnel, its token, a daemon with a config file: the tunnel is online', async () => {
    await done('tunnel', 'create', 'home')
    await done('tunnel', 'token', 'home', '--out', inFolder('tunnel-token'))
    secrets.push(readFileSync(inFolder('tunnel-token'), 'utf8').trim())
    writeFileSync(inFolder('daemon.yaml'), daemonFile({ 'db.localhost': origin.port }), { mode: 0o600 })
    daemon = begin('posternd', ['run', '--config', inFolder('daemon.yaml'), '--log-level', 'debug'])
    await daemon.says(/db\.localhost → tcp:\/\/127\.0\.0\.1:\d+/)
    await daemon.says(/connected to the edge/)
    expect(JSON.parse(await done('tunnel', 'info', 'home', '--json'))).toMatchObject({ online: true, connectors: [{}] })
  })

  let laptop: readonly string[]
  it('an application lets nobody in until a rule does, and then exactly whom it names', async () => {
    laptop = await token('laptop')
    const stranger = await token('stranger')
    await done('admin', 'app', 'create', 'db.localhost', '--tunnel', 'home')
    const before = origin.connections
    expect((await asked('db.localhost', laptop)).exit).toBe(14)
    await done('admin', 'policy', 'allow', 'db.localhost', '--service-token', 'laptop')
    expect((await asked('db.localhost', stranger)).exit).toBe(14)
    expect(origin.connections - before).toBe(0)
    expect(await asked('db.localhost', laptop)).toEqual({ exit: 0, out: `HELLO\nx${'t'.repeat(1000)}`, err: '' })
    expect(origin.connections - before).toBe(1)
  })

  it('a second hostname is added to the daemon’s file while a connection of the first goes on', async () => {
    const open = access('db.localhost', laptop)
    await open.says(/HELLO/)
    writeFileSync(inFolder('daemon.yaml'), daemonFile({ 'db.localhost': origin.port, 'app.localhost': other.port }))
    await daemon.says(/added app\.localhost → tcp:/)
    await done('admin', 'app', 'create', 'app.localhost', '--tunnel', 'home')
    await done('admin', 'policy', 'allow', 'app.localhost', '--service-token', 'laptop')
    expect((await asked('app.localhost', laptop)).out).toBe('the other one\n')
    open.child.stdin?.end('still here')
    expect([await open.exit, open.stdout]).toEqual([0, `HELLO\nstill here${'t'.repeat(1000)}`])
  })

  it('row 98: rotated with an overlap both secrets are good; without one, the old one’s connections are cut', async () => {
    const open = access('db.localhost', laptop)
    await open.says(/HELLO/)
    const rotate = async (overlap: string) => {
      const shown = JSON.parse(await done('admin', 'service-token', 'rotate', 'laptop', '--overlap', overlap, '--json'))
      secrets.push(shown.secret)
      writeFileSync(inFolder('laptop.new'), shown.secret, { mode: 0o600 })
      return ['--id', shown.id, '--secret-file', inFolder('laptop.new')]
    }
    const second = await rotate('1h')
    expect([(await asked('db.localhost', laptop)).exit, (await asked('db.localhost', second)).exit]).toEqual([0, 0])
    const third = await rotate('0s')
    expect(await open.exit).toBe(42)
    expect(open.stderr).toContain('ACCESS_ENDED')
    expect([(await asked('db.localhost', laptop)).exit, (await asked('db.localhost', third)).exit]).toEqual([11, 0])
    laptop = third
  })

  it('row 101: rotating the tunnel’s token puts its daemons out; the new one brings one back', async () => {
    const shown = JSON.parse(await done('tunnel', 'token', 'home', '--rotate', '--json'))
    secrets.push(shown.token)
    expect(await daemon.exit).toBe(13)
    expect((await asked('db.localhost', laptop)).exit).toBe(30)
    writeFileSync(inFolder('tunnel-token'), shown.token, { mode: 0o600 })
    daemon = begin('posternd', ['run', '--config', inFolder('daemon.yaml'), '--log-level', 'debug'])
    await daemon.says(/connected to the edge/)
    expect((await asked('db.localhost', laptop)).exit).toBe(0)
  })

  it('a revoked token, a removed application: open connections are cut with a reason, new ones refused', async () => {
    const open = access('db.localhost', laptop)
    await open.says(/HELLO/)
    await done('admin', 'service-token', 'revoke', 'laptop')
    expect(await open.exit).toBe(42)
    const refused = await asked('db.localhost', laptop)
    expect([refused.exit, refused.err.includes('TOKEN_REVOKED')]).toEqual([13, true])
    await done('admin', 'app', 'delete', 'db.localhost')
    expect((await asked('db.localhost', laptop)).exit).toBe(20)
  })

  it('a file says it all at once: shown first, then made, and made again it changes nothing', async () => {
    const file = inFolder('access.yaml')
    writeFileSync(
      file,
      `version: 1
tunnels: [{ name: home }]
serviceTokens: [{ name: deploy }]
applications:
  - hostname: db.localhost
    tunnel: home
    rules:
      - { name: machines, action: allow, include: [{ serviceToken: deploy }] }
`,
      { mode: 0o600 },
    )
    const dry = await done('admin', 'apply', '-f', file, '--dry-run')
    expect(dry).toContain('+ application db.localhost')
    expect(await done('admin', 'app', 'list', '--json')).not.toContain('db.localhost')
    await done('admin', 'apply', '-f', file, '--secrets-dir', inFolder('made'))
    const { id } = JSON.parse(await done('admin', 'service-token', 'info', 'deploy', '--json'))
    secrets.push(readFileSync(inFolder('made/deploy'), 'utf8').trim())
    expect((await asked('db.localhost', ['--id', id, '--secret-file', inFolder('made/deploy')])).exit).toBe(0)
    expect(JSON.parse(await done('admin', 'apply', '-f', file, '--json')).changes).toEqual([])
  })

  it('rows 42, 99, 123: no secret is in the database, in a log, on a terminal or in what was said about a failure', async () => {
    expect(secrets.length).toBeGreaterThan(7)
    const database = readdirSync(inFolder('edge')).filter(name => name.startsWith('edge.db'))
    const places = [
      ...database.map(name => readFileSync(join(inFolder('edge'), name), 'latin1')),
      ...said.map(running => running.stderr),
      await done('admin', 'audit', '--limit', '1000'),
    ]
    // The part that must be guessed: what stands before it is public.
    const hidden = secrets.map(secret => secret.slice(-30))
    for (const place of places) for (const secret of hidden) expect(place.includes(secret)).toBe(false)
    expect(places.join()).toContain('service-token.create') // the log was read
  })
})
