import { createHash, randomBytes } from 'node:crypto'
import { renameSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { finished } from 'node:stream/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { temporaryFolder } from '../world/folder.ts'
import { type Origin, startOrigin } from '../world/origin.ts'
import { type Running, start } from '../world/program.ts'
import { startWorld, type World } from '../world/world.ts'

const HOST = 'db.localhost'

/** Says which service it is, then sends back what comes. */
const named = (name: string) => (socket: Socket) => {
  socket.write(name)
  socket.pipe(socket)
}

describe('posternd run --config', () => {
  let one: Origin
  let two: Origin
  let world: World
  let config: string
  let port: number
  let daemon: Running
  beforeAll(async () => {
    one = await startOrigin(named('one'))
    two = await startOrigin(named('two'))
    world = await startWorld({ hostname: HOST, service: `tcp://127.0.0.1:${one.port}` })
    config = join(world.folder, 'posternd.yaml')
    const listener = world.access('tcp', ['--url', 'localhost:0', '--json'])
    port = Number((await listener.says(/"address":"127\.0\.0\.1:(\d+)"/))[1])
    await world.daemon.stop()
  })
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]()
    await one?.[Symbol.asyncDispose]()
    await two?.[Symbol.asyncDispose]()
  })
  beforeEach(async () => {
    write(rules([HOST, one]))
    daemon = start('posternd', ['run', '--config', config], {
      env: { TUNNEL_TOKEN_FILE: join(world.folder, 'secrets', 'tunnel') },
    })
    await daemon.says(/connected to the edge/)
  })
  afterEach(() => daemon.stop('SIGKILL'))

  const rules = (...list: [string, Origin][]) =>
    list.map(([hostname, { port }]) => `  - hostname: ${hostname}\n    service: tcp://127.0.0.1:${port}\n`).join('')

  /** As an editor does: another file in its place. */
  function write(ingress: string, top = ''): void {
    const [, ca] = world.trust
    const text = `edge: https://edge.localhost:${world.port}\nca: ${ca}\nconnections: 1\n${top}ingress:\n${ingress}`
    writeFileSync(`${config}~`, text, { mode: 0o600 })
    renameSync(`${config}~`, config)
  }

  /** Who answers, and what the end was. */
  async function answered(text = 'x'): Promise<string> {
    const socket = connect(port, '127.0.0.1')
    socket.end(text)
    let back = ''
    socket.on('data', chunk => (back += chunk))
    await finished(socket).catch((error: NodeJS.ErrnoException) => (back += error.code))
    return back
  }

  /** A connection that stays. */
  async function held(): Promise<Socket> {
    const socket = connect(port, '127.0.0.1').on('error', () => {})
    await new Promise(resolve => socket.once('data', resolve))
    return socket
  }

  it('says what it serves; a changed file is taken, also when only the time it allows changed', async () => {
    await daemon.says(/db\.localhost → tcp:\/\/127/)
    expect(await answered()).toBe('onex')
    const web = '  - hostname: app.localhost\n    path: /api/*\n    service: http_status:404\n'
    write(rules([HOST, two]) + web)
    await daemon.says(/changed db\.localhost → tcp:\/\/127\.0\.0\.1:\d+ \(was tcp:/)
    await daemon.says(/added app\.localhost\/api\/\* → http_status:404/)
    expect(await answered()).toBe('twox')
    write(rules([HOST, two]) + web, 'gracePeriod: 1s\nlogLevel: debug\n')
    await daemon.says(/the config file was read again.*the config file was read again/s)
  })

  it('a rule whose scheme no rule had before gets its plugin', async () => {
    write(`  - hostname: ${HOST}\n    service: ssh://127.0.0.1:${two.port}\n`)
    await daemon.says(/changed db\.localhost → ssh:/)
    expect(await answered()).toBe('twox')
  })

  it('a rule that is removed takes its streams along, and nobody reaches the service any more', async () => {
    const socket = await held()
    const before = one.connections
    write(rules(['other.localhost', two]))
    await new Promise(resolve => socket.once('close', resolve))
    await expect.poll(() => one.open.size).toBe(0)
    await daemon.says(/removed db\.localhost/)
    expect(await answered()).not.toContain('one')
    expect(one.connections).toBe(before)
    const told = world.access('tcp', ['--json'])
    expect([await told.exit, told.stderr]).toEqual([31, expect.stringContaining('INGRESS_NOT_FOUND')])
    write(rules([HOST, one]))
    await daemon.says(/added db\.localhost/)
    expect(await answered()).toBe('onex')
  })

  it('a file with a mistake is refused whole, with its place; the old rules and their streams go on', async () => {
    const socket = await held()
    const before = two.connections
    write(`${rules([HOST, two])}  - hostname: db.localhost\n    servce: x\n`)
    await daemon.says(/the config file was not taken; the old rules serve on.*posternd\.yaml:8:5: .*servce/)
    expect(await answered()).toBe('onex')
    write('  - : [')
    await daemon.says(/not taken.*not taken/s)
    socket.end('y')
    expect(await new Promise(resolve => socket.once('data', chunk => resolve(String(chunk))))).toBe('y')
    expect(two.connections).toBe(before)
    write(rules([HOST, one]))
    await daemon.says(/says the same/)
  })

  it('a change of how it connects waits for the next start, and is told', async () => {
    write(rules([HOST, one]), 'transport: auto\nmetrics: 127.0.0.1:1\n')
    await daemon.says(/metrics was changed; it holds from the next start on/)
    expect(daemon.stderr).not.toContain('transport was changed') // it is what it was
    expect(await answered()).toBe('onex')
  })

  it('a long transfer is byte-exact through many changes, by SIGHUP', async () => {
    const socket = connect(port, '127.0.0.1')
    const got = createHash('sha256')
    let length = 0
    socket.on('data', chunk => {
      got.update(chunk)
      length += chunk.length
    })
    const sent = createHash('sha256').update('one')
    const ended = finished(socket)
    for (let change = 0; change < 20; change++) {
      write(change % 2 === 0 ? rules([HOST, one], ['other.localhost', two]) : rules([HOST, one]))
      daemon.child.kill('SIGHUP')
      for (let part = 0; part < 8; part++) {
        const chunk = randomBytes(64 * 1024)
        sent.update(chunk)
        if (!socket.write(chunk)) await new Promise(resolve => socket.once('drain', resolve))
      }
      await daemon.says(new RegExp(`(read again.*){${change + 1}}`, 's'))
    }
    socket.end()
    await ended
    expect(length).toBe(3 + 20 * 8 * 64 * 1024)
    expect(got.digest('hex')).toBe(sent.digest('hex'))
  })

  it('SIGTERM lets open streams end, whichever rule they are of; a second one ends at once', async () => {
    write(rules([HOST, one], ['other.localhost', two]))
    await daemon.says(/added other\.localhost/)
    const socket = await held()
    daemon.child.kill('SIGTERM')
    await daemon.says(/stopping/)
    socket.write('still')
    expect(await new Promise(resolve => socket.once('data', chunk => resolve(String(chunk))))).toBe('still')
    const ended = new Promise(resolve => socket.once('close', resolve))
    daemon.child.kill('SIGTERM')
    await ended
    expect(await daemon.exit).toBe(0) // it was asked to stop, and did
    expect(daemon.stderr).toContain('ending streams that were still open')
  })

  it('SIGTERM ends cleanly as soon as the last stream has ended', async () => {
    const socket = await held()
    daemon.child.kill('SIGTERM')
    await daemon.says(/stopping/)
    socket.end()
    expect(await daemon.exit).toBe(0)
  })
})

describe('posternd ingress', () => {
  const folder = temporaryFolder()
  const config = join(folder.path, 'posternd.yaml')
  afterAll(() => folder[Symbol.dispose]())

  async function run(words: readonly string[], text?: string) {
    if (text !== undefined) writeFileSync(config, text, { mode: 0o600 })
    const [command = '', ...rest] = words
    const running = start('posternd', ['ingress', command, '--config', config, ...rest])
    return [await running.exit, running.stdout.replaceAll(config, ''), running.stderr.replaceAll(config, '')]
  }

  const good = `ingress:
  - hostname: db.example.com
    service: tcp://localhost:5432
  - hostname: app.example.com
    path: /api/*
    service: http://localhost:8080
`

  it('validate: every mistake is a line with its place, and the exit status says so', async () => {
    const bad = good.replace('5432', '0').replace('/api', '^/api')
    const [exit, stdout, stderr] = await run(['validate'], bad)
    expect([exit, stdout]).toEqual([
      3,
      ':3:5: the service "tcp://localhost:0" names no port\n:5:5: the path "^/api/*" does not begin with /\n',
    ])
    expect(stderr).toContain('CONFIG_INVALID')
    const json = (await run(['validate', '--json']))[1]
    expect(JSON.parse(String(json))).toMatchObject({ valid: false, mistakes: [expect.any(String), expect.any(String)] })
    expect(await run(['validate'], good)).toEqual([0, expect.stringContaining('is valid'), ''])
  })

  it('rule: which one answers, and why', async () => {
    const [exit, stdout] = await run(['rule', 'https://app.example.com/api/users?id=7'], good)
    expect([exit, String(stdout).split('\n')[0]]).toEqual([0, 'app.example.com/api/* → http://localhost:8080 (rule 2)'])
    const json = (await run(['rule', '--json', 'db.example.com']))[1]
    expect(JSON.parse(String(json))).toMatchObject({ rule: 1, service: 'tcp://localhost:5432', purposes: ['tcp'] })
    expect(await run(['rule', 'https://app.example.com/other'])).toEqual([
      31,
      '',
      expect.stringContaining('INGRESS_NOT_FOUND'),
    ])
    expect((await run(['rule', 'https://app.example.com/x%2Fapi']))[0]).toBe(2)
    expect((await run(['rule']))[0]).toBe(2)
  })
})
