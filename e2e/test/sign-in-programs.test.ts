import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startBrowser, type TestBrowser } from '../world/browser.ts'
import { temporaryFolder } from '../world/folder.ts'
import { CA, LEAF, noOpenssl, OpensslCa } from '../world/openssl-ca.ts'
import { echoThenTail, type Origin, startOrigin } from '../world/origin.ts'
import type { Running } from '../world/program.ts'
import { type Site, startSite, startWebOrigin, TEAM, type WebOrigin } from '../world/site.ts'

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')
const PASSWORD = 'correct horse battery staple'
const EMAIL = 'ann@example.com'
const LOGIN_REQUIRED = 10
const ACCESS_DENIED = 14
const staff = [{ name: 'staff', action: 'allow' as const, include: [{ group: 'staff' }] }]

describe.skipIf(!['chromium', 'curl'].every(name => peers.includes(name)))(
  'people with a terminal and a browser (needs: apt-get install chromium curl)',
  { timeout: 120_000 },
  () => {
    let wiki: WebOrigin
    let echo: Origin
    let site: Site
    let browser: TestBrowser

    beforeAll(async () => {
      wiki = await startWebOrigin((request, response) => response.end(`page ${request.url}\n`))
      echo = await startOrigin(echoThenTail)
      site = await startSite({
        // One hostname, two protocols.
        'wiki.localhost': {
          protocols: ['http', 'tcp'],
          service: wiki.service,
          others: [`tcp://127.0.0.1:${echo.port}`],
          rules: staff,
        },
        'echo.localhost': { protocols: ['tcp'], service: `tcp://127.0.0.1:${echo.port}`, rules: staff },
        'both.localhost': { protocols: ['tcp'], service: `tcp://127.0.0.1:${echo.port}`, rules: staff },
        'keepers.localhost': {
          protocols: ['tcp'],
          service: `tcp://127.0.0.1:${echo.port}`,
          rules: [{ name: 'keepers', action: 'allow', include: [{ group: 'keepers' }] }],
        },
      })
      await site.person(EMAIL, PASSWORD, ['staff'])
      browser = await startBrowser()
    })
    afterAll(async () => {
      await browser?.[Symbol.asyncDispose]()
      await site?.[Symbol.asyncDispose]()
      await wiki?.[Symbol.asyncDispose]()
      await echo?.[Symbol.asyncDispose]()
    })

    const trust = ['--trust-team', TEAM]
    const address = (hostname: string) => `${hostname}:${site.edge.port}`

    /** What a person does with the address that a program printed. */
    async function follow(program: Running): Promise<void> {
      const [url] = await program.says(/https:\/\/edge\.localhost:\d+\/oauth\/\S+/)
      await using visitor = await browser.person()
      const page = await visitor.newPage()
      await page.goto(url)
      await signIn(page)
      await page.getByRole('button', { name: 'Yes, sign in' }).click()
      await page.waitForURL(/^http:\/\/127\.0\.0\.1:\d+\//)
      await page.getByText(/close this/i).waitFor()
    }

    async function signIn(page: Page): Promise<void> {
      await page.getByLabel('Email').fill(EMAIL)
      await page.getByLabel('Password').fill(PASSWORD)
      await page.getByRole('button', { name: 'Sign in' }).click()
    }

    // Where there is a screen there is a person to ask; no browser is opened on it.
    const person = (args: readonly string[]): Running => {
      const program = site.postern([...args, '--no-browser', ...trust], { DISPLAY: ':99' })
      program.child.stdin?.end()
      return program
    }

    /** Runs to its end. */
    async function done(
      args: readonly string[],
      input = '',
    ): Promise<{ code: number; stdout: string; stderr: string }> {
      const program = site.postern(args)
      program.child.stdin?.end(input)
      return { code: await program.exit, stdout: program.stdout, stderr: program.stderr }
    }

    it('nobody is signed in: each command says which one to run, and stdout stays empty', async () => {
      const { code, stdout, stderr } = await done(['access', 'token', '--app', site.at('wiki.localhost')])
      expect([code, stdout]).toEqual([LOGIN_REQUIRED, ''])
      expect(stderr).toContain('postern access login')
    })

    it('sign in once, then reach every application of the team by its ordinary program', async () => {
      const login = person(['access', 'login', site.at('wiki.localhost')])
      await follow(login)
      expect(await login.exit).toBe(0)
      expect(login.stdout).toContain(EMAIL)

      const again = await done(['access', 'login', site.at('wiki.localhost')])
      expect(again.stdout).toContain('already signed in')

      const { stdout: token } = await done(['access', 'token', '--app', site.at('wiki.localhost')])
      expect(token).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/)

      const curl = await done(['access', 'curl', `${site.at('wiki.localhost')}/by-curl`, '--silent', '--fail'])
      expect([curl.code, curl.stdout]).toEqual([0, 'page /by-curl\n'])

      const tcp = await done(['access', 'tcp', '--hostname', address('echo.localhost')], 'abc')
      expect([tcp.code, tcp.stdout]).toEqual([0, `HELLO\nabc${'t'.repeat(1000)}`])

      const both = await done(['access', 'tcp', '--hostname', address('wiki.localhost')], 'both')
      expect(both.stdout).toContain('both')

      const denied = await done(['access', 'tcp', '--hostname', address('keepers.localhost')])
      expect([denied.code, denied.stdout]).toEqual([14, ''])
    })

    it.skipIf(noOpenssl)('a rule that wants the person and a certificate: neither alone, both together', async () => {
      using folder = temporaryFolder()
      const ca = OpensslCa.root(join(folder.path, 'ca'), '/CN=Laptops', CA)
      const { certFile, keyFile } = ca.issue({ extensions: `${LEAF}subjectAltName=DNS:laptop-7.example.com\n` })
      const { administration } = site.edge
      await administration.call('ca.import', { body: { name: 'laptops', certificates: ca.cert } } as never)
      const rule = { name: 'both', action: 'allow', include: [{ group: 'staff' }] }
      const rules = [{ ...rule, require: [{ certificate: { ca: 'laptops', dns: 'laptop-7.example.com' } }] }]
      await administration.call('policy.put', { params: { hostname: 'both.localhost' }, body: { rules } } as never)
      const certificate = ['--auth', 'mtls', '--cert', certFile, '--key', keyFile]
      const access = ['access', 'tcp', '--hostname', address('both.localhost')]
      const before = echo.connections

      const alone = await done(access)
      expect([alone.code, alone.stdout]).toEqual([ACCESS_DENIED, ''])
      const nobody = await done([...access, ...certificate])
      expect([nobody.code, nobody.stdout]).toEqual([LOGIN_REQUIRED, ''])
      expect(echo.connections).toBe(before)

      const both = await done([...access, '--auth', 'browser-sso', ...certificate], 'abc')
      expect([both.code, both.stdout], both.stderr).toEqual([0, `HELLO\nabc${'t'.repeat(1000)}`])
    })

    it('a local address that adds who one is', async () => {
      const at = await freeAddress()
      const http = site.postern(['access', 'http', '--hostname', address('wiki.localhost'), '--url', at])
      await http.says(new RegExp(at.replace('localhost', '(127\\.0\\.0\\.1|localhost)')))
      const answer = await fetch(`http://${at}/by-local`)
      expect([answer.status, await answer.text()]).toEqual([200, 'page /by-local\n'])
      expect(await http.stop()).toBe(0)
    })

    it('a sign-in that is too old for one application is made again, and what another carries goes on', async () => {
      const [short, long] = [await freeAddress(), await freeAddress()]
      const port = (at: string) => Number(at.split(':')[1])
      const forwards = [`${port(short)}:${address('echo.localhost')}`, `${port(long)}:${address('wiki.localhost')}`]
      const access = person(['access', 'tcp', '--json', ...forwards.flatMap(one => ['-L', one])])
      await access.says(new RegExp(`"address":"127.0.0.1:${port(short)}"`))
      await access.says(new RegExp(`"address":"127.0.0.1:${port(long)}"`))
      await using going = await Line.open(port(long))
      await using ending = await Line.open(port(short))
      await going.says('HELLO')
      await ending.says('HELLO')

      // The API takes a minute at least; this is two seconds from now.
      const { store, administration } = site.edge
      const session = (await administration.call('session.list', { query: {} })).find(one => one.via === 'cli')
      const sessionSeconds = Math.round((Date.now() - Date.parse(session?.authenticatedAt ?? '')) / 1000) + 2
      const echoing = store.snapshot.applications.get('echo.localhost')
      if (!echoing) throw new Error('no such application')
      const note = { action: 'application.put', actor: 'test' }
      await store.apply([{ put: 'application', value: { ...echoing, options: { sessionSeconds } } }], note)
      await ending.over

      const again = await Line.open(port(short))
      await follow(access)
      await store.apply([{ put: 'application', value: { ...echoing, options: {} } }], note)
      await again.says('HELLO')
      again.socket.destroy()
      going.socket.write('still here')
      await going.says('still here')
      expect(await access.stop()).toBe(0)
    })

    it('sign out, and everything it let in is over', async () => {
      const tcp = site.postern(['access', 'tcp', '--hostname', address('echo.localhost')])
      await tcp.says(/HELLO/)
      const out = await done(['access', 'logout', site.at('wiki.localhost')])
      expect([out.code, out.stdout]).toEqual([0, expect.stringContaining(EMAIL)])
      expect(await tcp.exit).not.toBe(0)
      expect((await done(['access', 'token', '--app', site.at('wiki.localhost')])).code).toBe(LOGIN_REQUIRED)
    })

    it('a machine without a browser: the person types its code elsewhere', async () => {
      const login = person(['access', 'login', site.at('echo.localhost'), '--device'])
      const [, url = ''] = await login.says(/(https:\/\/edge\.localhost:\d+\/device)/)
      const [code] = await login.says(/\b[A-Z]{4}-[A-Z]{4}\b/)
      await using visitor = await browser.person()
      const page = await visitor.newPage()
      await page.goto(url)
      await signIn(page)
      await page.getByLabel('Code').fill(code)
      await page.getByRole('button').first().click()
      await page.getByText(code).waitFor()
      await page.getByRole('button', { name: /yes/i }).click()
      expect(await login.exit).toBe(0)
      const { code: exit } = await done(['access', 'token', '--app', site.at('wiki.localhost')])
      expect(exit).toBe(0)
      await done(['access', 'logout', '--all'])
    })

    it('twenty commands at once: one sign-in', async () => {
      const sessions = async () => (await site.edge.administration.call('session.list', { query: {} })).length
      const before = await sessions()
      const app = site.at('wiki.localhost')
      const all = Array.from({ length: 20 }, () => person(['access', 'token', '--app', app, '--login']))
      await follow(await Promise.race(all.map(async one => one.says(/https:\/\/\S+\/oauth\//, 90).then(() => one))))
      const codes = await Promise.all(all.map(one => one.exit))
      expect(codes).toEqual(all.map(() => 0))
      expect(all.filter(one => /\/oauth\//.test(one.stderr))).toHaveLength(1)
      // The browser's own, and the program's.
      expect((await sessions()) - before).toBe(2)
    })

    it('a file of forwards: one sign-in for all of them; who is signed out is told, and signs in by connecting', async () => {
      using folder = temporaryFolder()
      const file = join(folder.path, 'forwards.yaml')
      const forwards = ['wiki', 'echo', 'keepers'].map(name => ({ hostname: address(`${name}.localhost`), listen: 0 }))
      writeFileSync(file, JSON.stringify({ forwards }), { mode: 0o600 })
      await done(['access', 'logout', '--all'])
      const up = person(['access', 'up', '-f', file, '--json'])
      await follow(up)
      const line = (event: string, name: string) => `"event":"${event}","hostname":"${name}.localhost:\\d+".*`
      const [, port = ''] = await up
        .says(new RegExp(`${line('up', 'echo')}`))
        .then(([text]) => /:(\d+)","protocol/.exec(text) ?? [])
      await up.says(new RegExp(line('up', 'wiki')))
      await up.says(new RegExp(`${line('failed', 'keepers')}ACCESS_DENIED`))
      expect(up.stderr.match(/\/oauth\//g)).toHaveLength(1)
      {
        await using connection = await Line.open(Number(port))
        await connection.says('HELLO')
      }
      await done(['access', 'logout', '--all'])
      await up.says(new RegExp(`${line('sign-in', 'echo')}LOGIN_REQUIRED`))
      await up.says(new RegExp(`${line('sign-in', 'wiki')}LOGIN_REQUIRED`))
      up.stderr = ''
      await using connection = await Line.open(Number(port))
      await follow(up)
      await connection.says('HELLO')
      expect(await up.stop('SIGKILL')).toBe(137)
    })
  },
)

/** A connection of the user's. */
class Line implements AsyncDisposable {
  readonly socket: Socket
  readonly over: Promise<void>
  #said = ''

  constructor(socket: Socket) {
    this.socket = socket
    this.over = new Promise(resolve => socket.once('close', () => resolve()))
    socket.on('error', () => {}).on('data', (chunk: Buffer) => (this.#said += chunk))
  }

  static async open(port: number): Promise<Line> {
    const socket = connect({ port, host: '127.0.0.1' })
    const line = new Line(socket)
    await once(socket, 'connect')
    return line
  }

  async says(what: string): Promise<void> {
    await expect.poll(() => this.#said, { timeout: 20_000 }).toContain(what)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.destroy()
    await this.over
  }
}

async function freeAddress(): Promise<string> {
  const server: Server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', () => resolve()))
  const { port } = server.address() as AddressInfo
  await new Promise<void>(resolve => server.close(() => resolve()))
  return `localhost:${port}`
}
