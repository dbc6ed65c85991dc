import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Dev, ECHO_HOST, SSH_HOST, startDev } from '@postern/dev'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Running, start } from '../world/program.ts'

const quiet = { debug() {}, info() {}, warn() {}, error() {} }
const TAIL = '\n(that were 3 bytes; this line came after you had finished)\n'

interface Event {
  readonly event: string
  readonly hostname: string
  readonly address: string
  readonly code?: string
}

/** The events a forward has told so far. */
function events(running: Running): Event[] {
  return running.stdout
    .split('\n')
    .filter(line => line.startsWith('{'))
    .map(line => JSON.parse(line))
}

describe('several forwards in one process', () => {
  let dev: Dev
  let folder: string
  let credential: readonly string[]
  const running: Running[] = []
  beforeAll(async () => {
    dev = await startDev({}, { signal: new AbortController().signal, log: quiet })
    const { id, secretFile } = dev.serviceToken
    credential = ['--id', id, '--secret-file', secretFile, '--ca', dev.caFile]
    const { administration } = dev.edge
    const somebody = await administration.call('service-token.create', { body: { name: 'somebody else' } })
    const rules = [{ name: 'somebody else', action: 'allow' as const, include: [{ serviceToken: somebody.id }] }]
    await administration.call('application.create', {
      body: { hostname: 'denied.localhost', tunnel: 'sample', protocols: ['tcp'], rules },
    })
    await administration.call('tunnel.create', { body: { name: 'away' } })
    const own = [{ name: 'the sample token', action: 'allow' as const, include: [{ serviceToken: id }] }]
    await administration.call('application.create', {
      body: {
        hostname: 'away.localhost',
        tunnel: 'away',
        protocols: ['tcp'],
        rules: own,
      },
    })
  })
  afterAll(() => dev?.[Symbol.asyncDispose]())
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'postern-forwards-'))
  })
  afterEach(async () => {
    await Promise.all(running.splice(0).map(one => one.stop('SIGKILL')))
    rmSync(folder, { recursive: true, force: true })
  })

  const at = (hostname: string) => `${hostname}:${dev.port}`
  const access = (args: readonly string[], env: NodeJS.ProcessEnv = {}): Running => {
    const one = start('postern', ['access', 'tcp', ...args], { cwd: folder, env })
    running.push(one)
    return one
  }
  const forward = (...forwards: string[]) => access([...forwards.flatMap(one => ['-L', one]), ...credential, '--json'])
  const listening = async (one: Running, count: number) => {
    await one.says(new RegExp(`(?:"listening"[\\s\\S]*?){${count}}`))
    return events(one).map(event => event.address)
  }

  it('reaches each application at its own port or socket, with half-close; one Ctrl-C ends them all', async () => {
    const one = forward(
      `0:${at(ECHO_HOST)}`,
      `./echo.sock:${at(ECHO_HOST)}`,
      `[::1]:0:${at(ECHO_HOST)}`,
      `0:${at(SSH_HOST)}`,
    )
    const [echo = '', socket = '', six = '', ssh = ''] = await listening(one, 4)
    expect(socket).toBe(join(folder, 'echo.sock'))
    expect(statSync(socket).mode & 0o777).toBe(0o600)
    const texts = await Promise.all([echo, socket, six].map(address => ask(address, 'abc')))
    expect(texts).toEqual([`abc${TAIL}`, `abc${TAIL}`, `abc${TAIL}`])
    expect(await ask(ssh, 'x\r\n')).toMatch(/^SSH-2\.0-/)
    expect(await one.stop('SIGINT')).toBe(0)
    expect(existsSync(socket)).toBe(false)
    await expect(ask(echo, 'x')).rejects.toMatchObject({ code: 'ECONNREFUSED' })
  })

  it('tells a person where each is', async () => {
    const one = access(['-L', `0:${at(ECHO_HOST)}`, '-L', `0:${at(SSH_HOST)}`, ...credential])
    await one.says(
      /echo\.localhost:\d+ is at 127\.0\.0\.1:\d+ transport=\w+ mode=hop\n.*ssh\.localhost:\d+ is at 127\.0\.0\.1:\d+ transport=\w+ mode=hop\n.*Ctrl-C ends them all/,
    )
    expect(one.stdout).toBe('')
  })

  it.each([
    ['an unknown hostname', 'nope.localhost', 20, 'NOT_FOUND'],
    ['one that the policy denies', 'denied.localhost', 14, 'ACCESS_DENIED'],
    ['a tunnel without its daemon', 'away.localhost', 30, 'TUNNEL_OFFLINE'],
  ])('%s ends them before any is told to be there, with its own exit code', async (_what, hostname, exit, code) => {
    const one = forward(`0:${at(ECHO_HOST)}`, `0:${at(hostname)}`)
    expect(await one.exit).toBe(exit)
    expect(events(one)).toEqual([expect.objectContaining({ event: 'failed', hostname: at(hostname), code })])
    expect(JSON.parse(one.stderr.trim().split('\n').at(-1) ?? '').error).toMatchObject({
      code,
      exit,
      message: expect.stringContaining(hostname),
      requestId: expect.stringMatching(/\S{8,}/),
    })
  })

  it('tells of every one that cannot start', async () => {
    const one = forward(`0:${at('denied.localhost')}`, `0:${at('nope.localhost')}`)
    expect(await one.exit).toBe(14) // the first one's
    expect(
      events(one)
        .map(({ event, code }) => `${event} ${code}`)
        .sort(),
    ).toEqual(['failed ACCESS_DENIED', 'failed NOT_FOUND'])
    expect(one.stderr).toContain('nope.localhost')
  })

  it('a session that was lost is told, and another is made by itself', async () => {
    const relay = await startRelay(dev.port)
    try {
      const edge = ['--edge', `https://${ECHO_HOST}:${relay.port}`]
      const one = access(['-L', `0:${ECHO_HOST}`, '-L', `0:${ECHO_HOST}`, ...edge, ...credential, '--json'])
      const [first = '', second = ''] = await listening(one, 2)
      expect(await ask(first, 'abc')).toBe(`abc${TAIL}`)
      relay.cut()
      await one.says(/(?:"lost"[\s\S]*?){2}/)
      await one.says(/(?:"connected"[\s\S]*?){2}/)
      expect(await ask(first, 'abc')).toBe(`abc${TAIL}`)
      const told = events(one).map(({ event, address }) => `${event} ${address}`)
      expect(told.slice(0, 2)).toEqual([`listening ${first}`, `listening ${second}`])
      expect(told.slice(2, 4).sort()).toEqual([`lost ${first}`, `lost ${second}`].sort())
      expect(told.slice(4).sort()).toEqual([`connected ${first}`, `connected ${second}`].sort())
      relay.stop()
      relay.cut()
      await one.says(/(?:"lost"[\s\S]*?){3}/)
      await ask(first, 'abc').catch(() => {})
      await one.says(/"failed".*EDGE_UNREACHABLE/)
      expect(await one.stop('SIGINT')).toBe(0)
    } finally {
      relay.stop()
      relay.cut()
    }
  })

  it.each([
    [['-L', '0:a.localhost', '--hostname', 'b.localhost'], 'OPTION_CONFLICT'],
    [['-L', '0:a.localhost', '--url', 'localhost:1'], 'OPTION_CONFLICT'],
    [['-L', '5999:a.localhost', '-L', 'localhost:5999:b.localhost'], 'OPTION_CONFLICT'],
    [['-L', '5999'], 'OPTION_INVALID'],
  ])('%j is refused before any work', async (args, code) => {
    const one = access([...args, '--json'])
    expect(await one.exit).toBe(2)
    expect(JSON.parse(one.stderr).error).toMatchObject({ code, next: expect.stringMatching(/\S/) })
  })

  it('one whose protocol is done takes no more connections, the others go on; one that fails ends them all', async () => {
    const plugin = {
      name: 'once',
      version: '1.0.0',
      type: 'module',
      exports: { './client': './client.js', './package.json': './package.json' },
      postern: {
        api: 1,
        plugins: [{ kind: 'protocol', name: 'once', summary: 'for tests', schemes: ['once'], client: './client.js' }],
      },
    }
    const connect = `async ({ app, listener }, { signal }) => {
      if (app.hostname === '${SSH_HOST}') return
      for await (const one of listener.connections({ signal })) {
        if (process.env.FAILS) throw new Error('it failed')
        one.end('served')
      }
    }`
    mkdirSync(join(folder, 'once'))
    writeFileSync(join(folder, 'once/package.json'), JSON.stringify(plugin))
    writeFileSync(
      join(folder, 'once/client.js'),
      `export default { api: 1, kind: 'protocol', side: 'client', name: 'once', options: {}, create: () => ({ connect: ${connect} }) }`,
    )
    const begin = (env: NodeJS.ProcessEnv) => {
      const forwards = ['-L', `0:${at(ECHO_HOST)}`, '-L', `0:${at(SSH_HOST)}`, '--plugin', './once', '--json']
      const one = start('postern', ['access', 'once', ...forwards, ...credential], { cwd: folder, env })
      running.push(one)
      return one
    }
    const one = begin({})
    const [goesOn = '', done = ''] = await listening(one, 2)
    expect(await ask(goesOn, 'x')).toBe('served')
    await expect(ask(done, 'x')).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    expect(await ask(goesOn, 'x')).toBe('served')
    expect(await one.stop('SIGINT')).toBe(0)
    const failing = begin({ FAILS: '1' })
    const [first = ''] = await listening(failing, 2)
    await ask(first, 'x').catch(() => {})
    expect(await failing.exit).not.toBe(0)
    expect(failing.stderr).toContain('it failed')
  })

  it('has a credential of its own for each, from the config file', async () => {
    const { id, secretFile } = dev.serviceToken
    writeFileSync(
      join(folder, 'config.yaml'),
      `ca: ${dev.caFile}
applications:
  ${ECHO_HOST}: { id: ${id}, secretFile: ${secretFile} }
  denied.localhost: { id: pst_unknown, secretFile: ${secretFile} }
`,
      { mode: 0o600 },
    )
    const env = { POSTERN_CONFIG: join(folder, 'config.yaml') }
    const one = access(['-L', `0:${at(ECHO_HOST)}`, '--json'], env)
    const [echo = ''] = await listening(one, 1)
    expect(await ask(echo, 'abc')).toBe(`abc${TAIL}`)
    const other = access(['-L', `0:${at(ECHO_HOST)}`, '-L', `0:${at('denied.localhost')}`, '--json'], env)
    expect(await other.exit).toBe(11)
  })
})

/** Sends everything, ends, and reads to the end. */
function ask(address: string, text: string): Promise<string> {
  const [, host = '', port] = /^\[?([^\]]*)\]?:(\d+)$/.exec(address) ?? []
  return new Promise((resolve, reject) => {
    let answer = ''
    const to = port === undefined ? { path: address } : { host, port: Number(port) }
    const socket = connect({ ...to, allowHalfOpen: true }, () => socket.end(text))
    socket
      .setEncoding('utf8')
      .on('data', chunk => (answer += chunk))
      .on('end', () => resolve(answer))
      .on('error', reject)
  })
}

interface Relay {
  readonly port: number
  cut(): void
  stop(): void
}

/** A network that fails when it is told to. */
async function startRelay(target: number): Promise<Relay> {
  const open = new Set<Socket>()
  const keep = (socket: Socket) => open.add(socket.on('error', () => {}).on('close', () => open.delete(socket)))
  const server: Server = createServer(socket => {
    const on = connect(target, '127.0.0.1')
    keep(socket)
    keep(on)
    socket.pipe(on).pipe(socket)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  return {
    port,
    cut: () => {
      for (const socket of open) socket.resetAndDestroy()
    },
    stop: () => void server.close(),
  }
}
