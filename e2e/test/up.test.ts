import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { freePort } from '@postern/dev'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { temporaryFolder } from '../world/folder.ts'
import { echoThenTail, type Origin, startOrigin } from '../world/origin.ts'
import { Running, run, scriptOf, start } from '../world/program.ts'
import { type SshOrigin, startSshOrigin } from '../world/ssh.ts'
import { startWorld, type World } from '../world/world.ts'

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')

interface Event {
  readonly time: string
  readonly event: string
  readonly hostname: string
  readonly address: string
  readonly code?: string
  readonly next?: string
}

describe.skipIf(!['ssh', 'sshd', 'curl'].every(name => peers.includes(name)))(
  'postern access up (needs: apt-get install openssh-client openssh-server curl)',
  () => {
    const folder = temporaryFolder()
    const running: Running[] = []
    let echo: Origin
    let web: Server
    let sshd: SshOrigin
    let world: World
    let daemon: Running
    let ports: { readonly echo: number; readonly web: number; readonly ssh: number }

    beforeAll(async () => {
      echo = await startOrigin(echoThenTail)
      web = createServer((request, response) => response.end(`page ${request.url}`))
      await new Promise<void>(resolve => web.listen(0, '127.0.0.1', resolve))
      sshd = await startSshOrigin(folder.path)
      world = await startWorld({ hostname: 'echo.localhost', service: `tcp://127.0.0.1:${echo.port}` })
      await world.daemon.stop()
      const rules = [{ name: 'tokens', action: 'allow', include: [{ anyServiceToken: true }] }]
      const [ssh, tcp] = [['ssh'], ['tcp']]
      const applications = [
        { hostname: 'ssh.localhost', tunnel: 'home', protocols: ssh, rules },
        { hostname: 'web.localhost', tunnel: 'home', protocols: tcp, rules },
        { hostname: 'away.localhost', tunnel: 'away', protocols: tcp, rules },
        { hostname: 'closed.localhost', tunnel: 'home', protocols: tcp },
      ]
      const access = join(folder.path, 'access.yaml')
      writeFileSync(access, JSON.stringify({ version: 1, tunnels: [{ name: 'away' }], applications }))
      await admin('apply', '-f', access, '--yes')
      const { port } = web.address() as AddressInfo
      const ingress = [
        ['echo.localhost', `tcp://127.0.0.1:${echo.port}`],
        ['ssh.localhost', `ssh://127.0.0.1:${sshd.port}`],
        ['web.localhost', `tcp://127.0.0.1:${port}`],
      ].map(([hostname, service]) => ({ hostname, service }))
      const tokenFile = join(world.folder, 'secrets', 'tunnel')
      const config = { edge: `https://edge.localhost:${world.port}`, ca: world.trust[1], tokenFile, ingress }
      writeFileSync(join(folder.path, 'posternd.json'), JSON.stringify(config), { mode: 0o600 })
      daemon = start('posternd', ['run', '--config', join(folder.path, 'posternd.json')])
      await daemon.says(/connected to the edge/)
      ports = { echo: await freePort(), web: await freePort(), ssh: await freePort() }
    })
    afterEach(async () => void (await Promise.all(running.splice(0).map(one => one.stop('SIGKILL')))))
    afterAll(async () => {
      await daemon?.stop('SIGKILL')
      await world?.[Symbol.asyncDispose]()
      await echo?.[Symbol.asyncDispose]()
      await sshd?.[Symbol.asyncDispose]()
      web?.close()
      folder[Symbol.dispose]()
    })

    async function admin(...words: string[]): Promise<string> {
      const command = words[0] === 'tunnel' ? words : ['admin', ...words]
      const one = start('postern', [...command, '--data', join(world.folder, 'edge'), '--json'])
      expect(await one.exit, one.stderr).toBe(0)
      return one.stdout
    }

    const file = () => join(folder.path, 'forwards.yaml')
    const socket = () => join(folder.in('sockets'), 'web.sock')
    const [ID, SECRET] = [1, 3] // of `--id ID --secret-file FILE`

    function write(forwards: readonly object[], top: object = {}): void {
      const [id, secretFile] = [world.credential[ID], world.credential[SECRET]]
      const named = forwards.map(one => ({
        ...one,
        hostname: `${(one as { hostname: string }).hostname}:${world.port}`,
      }))
      writeFileSync(file(), JSON.stringify({ ca: world.trust[1], id, secretFile, ...top, forwards: named }), {
        mode: 0o600,
      })
    }

    function up(...more: readonly string[]): Running {
      const one = start('postern', ['access', 'up', '-f', file(), '--json', ...more], { cwd: folder.path })
      running.push(one)
      return one
    }

    const events = (one: Running, hostname?: string): Event[] =>
      one.stdout
        .split('\n')
        .filter(line => line.startsWith('{'))
        .map(line => JSON.parse(line) as Event)
        .filter(event => hostname === undefined || event.hostname === `${hostname}:${world.port}`)

    /** Waits until a forward is as it shall be, at its `count`th time. */
    async function is(one: Running, hostname: string, event: string, count = 1): Promise<Event> {
      await one.says(new RegExp(`(?:"event":"${event}","hostname":"${hostname}:[\\s\\S]*?){${count}}`))
      return events(one, hostname).filter(found => found.event === event)[count - 1]!
    }

    const ask = (port: number, text: string) =>
      new Promise<string>((resolve, reject) => {
        let answer = ''
        const one = connect({ host: '127.0.0.1', port, allowHalfOpen: true }, () => one.end(text))
        one.setEncoding('utf8').on('data', chunk => (answer += chunk))
        one.on('end', () => resolve(answer)).on('error', reject)
      })
    const echoes = async () => expect(await ask(ports.echo, 'abc')).toBe(`HELLO\nabc${'t'.repeat(1000)}`)
    const curl = async () => {
      const { stdout } = await run('curl', ['-sS', '--unix-socket', socket(), 'http://web/by-curl'])
      expect(stdout).toBe('page /by-curl')
    }
    const ssh = async () => {
      const known = join(folder.path, 'known_hosts')
      writeFileSync(known, `[127.0.0.1]:${ports.ssh} ${sshd.keys.hostPublicKey}\n`)
      const options = [
        'BatchMode=yes',
        'IdentitiesOnly=yes',
        `UserKnownHostsFile=${known}`,
        'StrictHostKeyChecking=yes',
      ]
      const flags = [
        '-F',
        '/dev/null',
        '-p',
        String(ports.ssh),
        '-i',
        sshd.keys.userKeyFile,
        ...options.flatMap(o => ['-o', o]),
      ]
      const { stdout, stderr } = await run('ssh', [...flags, `${userInfo().username}@127.0.0.1`, 'echo from sshd'])
      expect(stdout, stderr).toBe('from sshd\n')
    }
    const three = () => [
      { hostname: 'echo.localhost', listen: ports.echo },
      { hostname: 'ssh.localhost', listen: `localhost:${ports.ssh}`, protocol: 'ssh' },
      { hostname: 'web.localhost', listen: './sockets/web.sock' },
    ]

    it('carries a whole day: a port that is taken, an edge that dies, a token that is revoked, a file that changes', async () => {
      folder.in('sockets')
      const { id } = JSON.parse(
        await admin('service-token', 'create', 'other', '--out', join(folder.path, 'other')),
      ) as { id: string }
      const other = { id, secretFile: 'other' }
      const taking = createTcpServer().listen(ports.echo, '127.0.0.1')
      await new Promise(resolve => taking.once('listening', resolve))
      write([...three().slice(0, 2), { ...three()[2], ...other }])
      const one = up()

      // Another program has one of the ports: the others are up meanwhile, and that one is when it is free.
      expect(await is(one, 'echo.localhost', 'retrying')).toMatchObject({
        code: 'LISTEN_FAILED',
        next: expect.stringMatching(/\S/),
      })
      await is(one, 'ssh.localhost', 'up')
      await is(one, 'web.localhost', 'up')
      await Promise.all([ssh(), curl()])
      await new Promise(resolve => taking.close(resolve))
      await is(one, 'echo.localhost', 'up')
      await Promise.all([echoes(), ssh(), curl()])

      // The edge dies. Each says so and comes back by itself.
      await world.edge.stop('SIGKILL')
      for (const { hostname } of three()) await is(one, hostname, 'retrying', hostname === 'echo.localhost' ? 2 : 1)
      await expect(ask(ports.echo, 'abc')).rejects.toThrow(/ECONNRESET/)
      await world.startEdge()
      for (const { hostname } of three()) await is(one, hostname, 'up', 2)
      await Promise.all([echoes(), ssh(), curl()])

      // One token is revoked: that forward is over, and says why; nobody listens there. The others go on.
      await admin('service-token', 'revoke', 'other')
      const failed = await is(one, 'web.localhost', 'failed')
      expect(failed).toMatchObject({ code: 'TOKEN_REVOKED', next: expect.stringMatching(/\S/) })
      expect((await run('curl', ['-sS', '--unix-socket', socket(), 'http://web/'])).code).toBe(7)
      await Promise.all([echoes(), ssh()])
      const before = events(one).length
      await new Promise(resolve => setTimeout(resolve, 1_000))
      expect(events(one).length).toBe(before) // it is not asked again

      // The file is mended and read anew: what is as it was goes on, with what is open on it.
      const held = connect(ports.echo, '127.0.0.1')
      await new Promise(resolve => held.once('data', resolve))
      write(three())
      one.child.kill('SIGHUP')
      await is(one, 'web.localhost', 'up', 3)
      await Promise.all([echoes(), ssh(), curl()])
      write([{ hostname: 'nonsense', listen: 'x' }])
      one.child.kill('SIGHUP')
      await one.says(/everything stays as it was/)
      write(three().slice(0, 2))
      one.child.kill('SIGHUP')
      await expectGone(() => run('curl', ['-sS', '--unix-socket', socket(), 'http://web/']))

      // The end: what is open finishes first.
      one.child.kill('SIGTERM')
      await is(one, 'echo.localhost', 'ending')
      await expect(ask(ports.echo, 'x')).rejects.toThrow(/ECONNREFUSED/)
      const last = new Promise<string>((resolve, reject) => {
        let text = ''
        held
          .on('data', chunk => (text += chunk))
          .on('end', () => resolve(text))
          .on('error', reject)
      })
      held.end('still there')
      expect(await last).toBe(`still there${'t'.repeat(1000)}`)
      expect(await one.exit).toBe(0)
      expect(
        events(one)
          .map(({ time }) => Date.parse(time))
          .every(Number.isFinite),
      ).toBe(true)
      expect(one.stdout + one.stderr).not.toContain(readFileSync(join(folder.path, 'other'), 'utf8').trim())
    })

    async function expectGone(asking: () => Promise<{ code: number }>): Promise<void> {
      for (let tries = 0; (await asking()).code !== 7; tries += 1) expect(tries).toBeLessThan(50)
    }

    it('a second signal ends at once what is open; each forward’s own end is its exit code where none is left', async () => {
      write(three().slice(0, 1))
      const one = up()
      await is(one, 'echo.localhost', 'up')
      const held = connect(ports.echo, '127.0.0.1')
      held.on('error', () => {})
      await new Promise(resolve => held.once('data', resolve))
      one.child.kill('SIGINT')
      await is(one, 'echo.localhost', 'ending')
      one.child.kill('SIGINT')
      expect(await one.exit).toBe(130)

      write([
        { hostname: 'closed.localhost', listen: ports.echo },
        { hostname: 'nowhere.localhost', listen: ports.web },
      ])
      const none = up()
      expect(await none.exit).toBe(14)
      expect(
        events(none)
          .filter(({ event }) => event === 'failed')
          .map(({ code }) => code)
          .sort(),
      ).toEqual(['ACCESS_DENIED', 'NOT_FOUND'])
      expect(JSON.parse(none.stderr.trim().split('\n').at(-1) ?? '').error).toMatchObject({
        code: 'ACCESS_DENIED',
        exit: 14,
        message: expect.stringContaining('closed.localhost'),
      })
    })

    it('a daemon that is away is waited for, and another’s denial keeps nobody', async () => {
      write([
        { hostname: 'away.localhost', listen: 0 },
        { hostname: 'closed.localhost', listen: 0 },
        { hostname: 'echo.localhost', listen: ports.echo, transport: 'websocket' },
      ])
      const one = up()
      expect(await is(one, 'away.localhost', 'retrying')).toMatchObject({ code: 'TUNNEL_OFFLINE' })
      expect(await is(one, 'closed.localhost', 'failed')).toMatchObject({ code: 'ACCESS_DENIED' })
      expect(await is(one, 'echo.localhost', 'up')).toMatchObject({ transport: 'websocket' })
      await echoes()
      const tunnel = JSON.parse(await admin('tunnel', 'token', 'away')) as { token: string }
      const tokenFile = join(folder.path, 'away-token')
      writeFileSync(tokenFile, tunnel.token, { mode: 0o600 })
      const flags = ['--hostname', 'away.localhost', '--url', `tcp://127.0.0.1:${echo.port}`, '--token-file', tokenFile]
      const there = start('posternd', [...flags, '--edge', `https://edge.localhost:${world.port}`, ...world.trust])
      running.push(there)
      const { address } = await is(one, 'away.localhost', 'up')
      expect(await ask(Number(address.split(':')[1]), 'x')).toMatch(/^HELLO\nx/)
      expect(await one.stop('SIGTERM')).toBe(0)
    })

    it('is a table on a terminal, which is drawn in its place', async () => {
      write([...three().slice(0, 1), { hostname: 'closed.localhost', listen: 0 }])
      const command = `stty cols 60 rows 30; exec ${process.execPath} ${scriptOf('postern')} access up -f ${file()}`
      const begin = (env: NodeJS.ProcessEnv) => {
        const child = spawn('script', ['-qec', command, '/dev/null'], {
          env: { ...process.env, POSTERN_HOME: '/nonexistent', TERM: 'xterm', ...env },
        })
        const one = new Running(child, 'script')
        running.push(one)
        return one
      }
      const one = begin({})
      await one.says(/\u001b\[32mup {10}\u001b\[39mecho\.localhost/)
      await one.says(/\u001b\[31mfailed/)
      await one.says(/ {2}next: Ask the application’s/)
      one.child.stdin?.write('\u0003') // Ctrl-C
      expect(await one.exit).toBe(0)
      expect(one.stdout).toMatch(/\u001b\[\d+A\u001b\[J/)
      const last = one.stdout.split('\u001b[J').at(-1) ?? ''
      expect(last).toMatch(/ended {7}\S*echo\.localhost[\s\S]*closed\.localhost[\s\S]*nothing runs any more/)
      for (const line of last.split('\r\n')) expect(line.replace(/\u001b\[\d+m/g, '').length).toBeLessThan(60)
      const plain = begin({ NO_COLOR: '1' })
      await plain.says(/up {10}echo\.localhost/)
      plain.child.stdin?.write('\u0003')
      expect(await plain.exit).toBe(0)
      expect(plain.stdout).not.toMatch(/\u001b\[\d+m/)
    })
  },
)
