import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { createConnector, signConnector } from '@postern/connector/issue'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startBrowser, type TestBrowser } from '../world/browser.ts'
import { echoThenTail, type Origin, startOrigin } from '../world/origin.ts'
import { type Running, start } from '../world/program.ts'
import { type Site, startSite } from '../world/site.ts'

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')
const EMAIL = 'ann@example.com'
const OTHER = 'bob@example.com'
const PASSWORD = 'correct horse battery staple'
const TUNNEL = 'lab'
const HOSTNAME = 'lab.localhost'

/** Exit statuses of docs/errors.md. */
const [REJECTED, EXPIRED, REVOKED, EVICTED] = [11, 12, 13, 48]

interface Credentials {
  readonly edge: string
  readonly tunnel: string
  readonly connector: string
  readonly token: string
  readonly certificate: string
  readonly key: string
}

describe.skipIf(!peers.includes('chromium'))(
  'daemons that have certificates (needs: apt-get install chromium)',
  { timeout: 120_000 },
  () => {
    let origin: Origin
    let site: Site
    let browser: TestBrowser
    let secret: string
    const running = new Set<Running>()

    beforeAll(async () => {
      origin = await startOrigin(echoThenTail)
      site = await startSite({
        'home.localhost': { protocols: ['tcp'], service: `tcp://127.0.0.1:${origin.port}`, rules: [] },
      })
      await site.person(EMAIL, PASSWORD)
      await site.person(OTHER, PASSWORD)
      await site.edge.administration.call('settings.put', { body: { administrators: [{ email: EMAIL }] } })
      browser = await startBrowser()
    }, 60_000)
    afterAll(async () => {
      await Promise.all([...running].map(one => one.stop('SIGKILL')))
      await browser?.[Symbol.asyncDispose]()
      await site?.[Symbol.asyncDispose]()
      await origin?.[Symbol.asyncDispose]()
    })

    /** A machine: a user's folder of its own. */
    const machine = (name: string) => join(site.folder, name)
    const keep = (program: Running): Running => {
      running.add(program)
      return program
    }
    const posternd = (home: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) =>
      keep(start('posternd', args, { env: { POSTERN_HOME: machine(home), ...env } }))
    const logIn = (home: string) =>
      posternd(home, ['login', '--edge', site.team, '--ca', site.caFile, '--tunnel', TUNNEL])
    const serve = (home: string, more: readonly string[] = []) =>
      posternd(home, ['--hostname', HOSTNAME, '--url', `tcp://127.0.0.1:${origin.port}`, ...more])
    /** On the edge's machine, as its administrator. */
    const postern = async (home: string, ...args: readonly string[]) => {
      const env = { POSTERN_HOME: machine(home), POSTERN_EDGE_DATA: join(site.folder, 'edge'), POSTERN_CA: site.caFile }
      const program = keep(start('postern', args, { env }))
      program.child.stdin?.end()
      return { code: await program.exit, stdout: program.stdout, stderr: program.stderr }
    }
    const credentialsOf = (home: string) =>
      JSON.parse(readFileSync(join(machine(home), 'connector.json'), 'utf8')) as Credentials
    /** Daemons that run, in the order in which they were started. */
    const serving = () =>
      [...running].filter(({ child }) => child.exitCode === null && child.spawnargs.includes('--hostname'))
    const tunnel = () => site.edge.administration.call('tunnel.get', { params: { name: TUNNEL } })
    const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8)

    async function isCarried(): Promise<string> {
      const { edge, caFile } = site
      const client = ['access', 'tcp', '--hostname', `${HOSTNAME}:${edge.port}`, '--url', '127.0.0.1:0', '--json']
      const own = ['--id', serviceTokenId, '--secret-file', secret, '--ca', caFile]
      const access = keep(start('postern', [...client, ...own], { env: { POSTERN_HOME: machine('client') } }))
      const [, port] = await access.says(/"address":"127\.0\.0\.1:(\d+)"/)
      const socket = connect(Number(port), '127.0.0.1')
      let heard = ''
      socket.on('data', chunk => (heard += chunk)).on('error', () => {})
      socket.end('abc')
      await once(socket, 'close')
      await access.stop()
      return heard
    }
    let serviceTokenId = ''

    async function approve(program: Running, email: string, answer: string | undefined): Promise<string> {
      const [url] = await program.says(/https:\/\/edge\.localhost:\d+\/device/)
      const [code] = await program.says(/[A-Z]{4}-[A-Z]{4}/)
      await using person = await browser.person()
      const page = await person.newPage()
      await page.goto(url)
      await signIn(page, email)
      await page.getByLabel('Code').fill(code)
      await page.getByRole('button', { name: 'Go on' }).click()
      if (answer === undefined) return (await page.locator('main').textContent()) ?? ''
      await page.getByRole('heading', { name: 'Let this program administer?' }).waitFor()
      const shown = (await page.locator('main').textContent()) ?? ''
      await page.getByRole('button', { name: answer }).click()
      await page.getByRole('heading', { name: /signed in|Refused/ }).waitFor()
      return shown
    }

    async function signIn(page: Page, email: string): Promise<void> {
      await page.getByLabel('Email').fill(email)
      await page.getByLabel('Password').fill(PASSWORD)
      await page.getByRole('button', { name: 'Sign in' }).click()
      await page.getByLabel('Code').waitFor()
    }

    it('somebody who administers nothing cannot let a daemon in', async () => {
      const login = logIn('one')
      expect(await approve(login, OTHER, undefined)).toContain('Only administrators')
      await login.stop()
      expect(site.edge.store.snapshot.tunnels.has(TUNNEL)).toBe(false)
    })

    it('an administrator who says no refuses it', async () => {
      const login = logIn('one')
      await approve(login, EMAIL, 'No, refuse')
      expect(await login.exit).toBe(10)
      expect(login.stderr).toContain('was declined')
    })

    it('login by an administrator makes tunnel, identity and certificate; nothing of them stays signed in', async () => {
      const login = logIn('one')
      const shown = await approve(login, EMAIL, 'Yes, let it administer')
      // What is asked, by whom, and from where.
      for (const said of [site.team, '127.0.0.1', `for the tunnel ${TUNNEL}`, 'administer'])
        expect(shown).toContain(said)
      expect([await login.exit, login.stdout]).toEqual([0, expect.stringContaining(`the tunnel ${TUNNEL}`)])
      expect(credentialsOf('one')).toMatchObject({ edge: site.team, tunnel: TUNNEL })
      for (const path of ['connector.json', ...identitiesOf('one')])
        expect(modeOf(join(machine('one'), path))).toBe('600')
      expect(modeOf(machine('one'))).toBe('700')
      const sessions = await site.edge.administration.call('session.list', { query: {} })
      expect(sessions.filter(({ via }) => via !== 'browser')).toEqual([])
      const kept = readdirSync(machine('one')).sort()
      expect(kept).toEqual(['connector.json', 'connector.json.lock', 'tunnels'])
    })

    it('what it left is all that posternd needs, and the application is reached', async () => {
      const call = site.edge.administration.call.bind(site.edge.administration)
      const rules = [{ name: 'all', action: 'allow' as const, include: [{ anyServiceToken: true as const }] }]
      await call('application.create', { body: { hostname: HOSTNAME, tunnel: TUNNEL, protocols: ['tcp'], rules } })
      const made = await call('service-token.create', { body: { name: 'client' } })
      serviceTokenId = made.id
      secret = join(site.folder, 'service-secret')
      writeFileSync(secret, made.secret, { mode: 0o600 })
      const daemon = serve('one')
      await daemon.says(/connected to the edge/)
      expect(await isCarried()).toBe(`HELLO\nabc${'t'.repeat(1000)}`)
      const { connectors, needsCertificate, enrolled } = await tunnel()
      expect(needsCertificate).toBe(true)
      expect(connectors).toMatchObject([{ id: credentialsOf('one').connector, fingerprint: enrolled[0]?.fingerprint }])
    })

    it('row 101: a stolen token alone is refused, with a hint for whom it belongs to', async () => {
      const token = join(site.folder, 'stolen-token')
      writeFileSync(token, credentialsOf('one').token, { mode: 0o600 })
      const thief = serve('thief', ['--edge', site.team, '--ca', site.caFile, '--token-file', token])
      expect(await thief.exit).toBe(REJECTED)
      expect(thief.stderr).toContain(`not enough: posternd login --edge ${site.team}`)
      expect((await tunnel()).connectors).toHaveLength(1)
    })

    it('row 101: nor is it enough with a certificate of another tunnel, or one that was never enrolled', async () => {
      const call = site.edge.administration.call.bind(site.edge.administration)
      await postern('one', 'tunnel', 'create', 'other')
      const setup = join(site.folder, 'other-setup')
      await postern('one', 'tunnel', 'setup-token', 'other', '--file', setup)
      expect(await posternd('other', ['login', '--setup-token', setup]).exit).toBe(0)
      const other = credentialsOf('other')
      // Without what posternd itself would find wrong with them.
      const mixed = { ...other, tunnel: TUNNEL, token: credentialsOf('one').token, identity: undefined }
      expect(await withCredentials('mixed', mixed).exit).toBe(REJECTED)
      const one = await createConnector()
      const certificate = await signConnector(identityOf('one', TUNNEL), TUNNEL, one)
      const unknown = { ...credentialsOf('one'), connector: one.id, certificate, key: one.key }
      expect(await withCredentials('unknown', unknown).exit).toBe(REJECTED)
      // And it cannot be enrolled there: its name and its signer are another tunnel's.
      await expect(
        call('connector.enrol', { params: { name: TUNNEL }, body: { certificate: other.certificate } }),
      ).rejects.toMatchObject({ code: 'BAD_USAGE' })
    })

    let stolen = ''
    it('a setup token brings a second daemon, which is seen', async () => {
      const setup = join(site.folder, 'setup')
      const made = await postern('one', 'tunnel', 'setup-token', TUNNEL, '--file', setup)
      expect([made.code, modeOf(setup)]).toEqual([0, '600'])
      stolen = readFileSync(setup, 'utf8')
      expect(await posternd('two', ['login', '--setup-token', setup]).exit).toBe(0)
      // What could sign for it in front of clients is not left behind.
      expect(existsSync(setup)).toBe(false)
      const daemon = serve('two')
      await daemon.says(/connected to the edge/)
      // The edge has one more thing to do then.
      await expect.poll(async () => (await tunnel()).connectors.length).toBe(2)
      const { connectors, enrolled } = await tunnel()
      expect(connectors.map(({ fingerprint }) => fingerprint).sort()).toEqual(
        enrolled.map(({ fingerprint }) => fingerprint).sort(),
      )
      const info = (await postern('one', 'tunnel', 'info', TUNNEL)).stdout
      for (const { id, fingerprint, expiresAt } of enrolled) {
        expect(info).toContain(id)
        expect(info).toContain(fingerprint)
        expect(Date.parse(expiresAt)).toBeGreaterThan(Date.now() + 300 * 86_400_000)
      }
      const rows = await site.edge.store.readAudit({ most: 50, action: 'connector.joined' })
      expect(rows[0]?.detail).toMatchObject({ connector: credentialsOf('two').connector, others: 1 })
    })

    it('a setup token is good once, whoever comes with it and whatever it signs', async () => {
      const setup = join(site.folder, 'setup')
      writeFileSync(setup, stolen, { mode: 0o600 })
      const again = posternd('three', ['login', '--setup-token', setup])
      expect([await again.exit, again.stderr]).toEqual([REVOKED, expect.stringContaining('used already')])
      expect(readdirSync(site.folder)).not.toContain('three')
      expect(existsSync(setup)).toBe(true)
      const { authority, authorityKey } = JSON.parse(readFileSync(setup, 'utf8')) as Record<string, string>
      const signed = await signConnector(
        { cert: authority ?? '', key: authorityKey ?? '' },
        TUNNEL,
        await createConnector(),
      )
      const body = { certificate: signed }
      await expect(
        site.edge.administration.call('connector.enrol', { params: { name: TUNNEL }, body }),
      ).rejects.toMatchObject({ code: 'BAD_USAGE', message: expect.stringContaining('not signed') })
    })

    it('a setup token that has expired is told so', async () => {
      const setup = join(site.folder, 'late-setup')
      await postern('one', 'tunnel', 'setup-token', TUNNEL, '--file', setup)
      const rows = site.edge.store.snapshot.records.get('connector-setup')
      const [id, row] = [...(rows ?? [])].find(([, one]) => !Object.hasOwn(one as object, 'revokedAt')) ?? ['', {}]
      const value = { ...(row as object), expiresAt: Date.now() - 1 }
      await site.edge.store.apply([{ put: 'record', namespace: 'connector-setup', id, value }], {
        action: 'test',
        actor: 'test',
      })
      const late = posternd('three', ['login', '--setup-token', setup])
      expect([await late.exit, late.stderr]).toEqual([EXPIRED, expect.stringContaining('tunnel setup-token lab')])
    })

    it('a daemon that is evicted is out for good, and the other one serves on', async () => {
      const { connector } = credentialsOf('two')
      const two = serving().at(-1)
      expect((await postern('one', 'tunnel', 'evict', TUNNEL, connector)).code).toBe(0)
      expect([EVICTED, REVOKED]).toContain(await two?.exit)
      expect(await serve('two').exit).toBe(REVOKED)
      expect((await tunnel()).connectors.map(({ id }) => id)).toEqual([credentialsOf('one').connector])
      expect(await isCarried()).toContain('abc')
    })

    it('a login that is lost before its file is written leaves the machine as it was', async () => {
      const before = credentialsOf('one')
      const login = posternd('one', ['login'])
      await login.says(/[A-Z]{4}-[A-Z]{4}/)
      chmodSync(machine('one'), 0o777)
      await approve(login, EMAIL, 'Yes, let it administer')
      expect([await login.exit, login.stderr]).toEqual([
        expect.any(Number),
        expect.stringContaining('others can write'),
      ])
      chmodSync(machine('one'), 0o700)
      expect(credentialsOf('one')).toEqual(before)
      const { enrolled } = await tunnel()
      expect(enrolled.find(({ id }) => id === before.connector)?.revokedAt).toBeUndefined()
      expect(await isCarried()).toContain('abc')
    })

    it('login again on the same machine takes the place of the certificate before', async () => {
      const before = credentialsOf('one').connector
      const login = posternd('one', ['login'])
      await approve(login, EMAIL, 'Yes, let it administer')
      expect(await login.exit).toBe(0)
      const now = credentialsOf('one').connector
      expect(now).not.toBe(before)
      const { enrolled } = await tunnel()
      const endOf = (id: string) => enrolled.find(one => one.id === id)?.revokedAt
      expect(endOf(now)).toBeUndefined()
      expect(Date.parse(endOf(before) ?? '')).toBeGreaterThan(Date.now() + 3_000_000)
      // Until then the daemon that runs goes on.
      expect(await isCarried()).toContain('abc')
    })

    it('rotation cuts every daemon off', async () => {
      const [daemon] = serving()
      const rotated = await postern('one', 'tunnel', 'rotate', TUNNEL)
      expect([rotated.code, rotated.stdout]).toEqual([0, expect.stringMatching(/sha256:[0-9a-f]{64}/)])
      expect(await daemon?.exit).toBe(REVOKED)
      const late = serve('one')
      expect([await late.exit, late.stderr]).toEqual([REVOKED, expect.stringContaining(`--tunnel ${TUNNEL}`)])
      expect((await tunnel()).connectors).toEqual([])
    })

    it('a machine without the identity waits until somebody signs its key elsewhere', async () => {
      const login = logIn('four')
      await approve(login, EMAIL, 'Yes, let it administer')
      const [fingerprint] = await login.says(/sha256:[0-9a-f]{64}/)
      const wrong = await postern('four', 'tunnel', 'sign', TUNNEL, '--yes', '--fingerprint', fingerprint)
      expect([wrong.code, wrong.stderr]).toEqual([20, expect.stringContaining('--identity-file')])
      const signed = await postern('one', 'tunnel', 'sign', TUNNEL, '--yes', '--fingerprint', fingerprint)
      expect([signed.code, signed.stderr]).toEqual([0, expect.stringContaining('127.0.0.1')])
      expect(await login.exit).toBe(0)
      const daemon = serve('four')
      await daemon.says(/connected to the edge/)
      // The tunnel has another key since it was rotated: whoever pinned the old one says so first.
      const pin = await postern('client', 'access', 'pin', '--hostname', HOSTNAME, '--forget')
      expect([pin.code, pin.stdout]).toEqual([0, `${HOSTNAME}: no key is pinned\n`])
      expect(await isCarried()).toContain('abc')
      expect(await daemon.stop()).toBe(0)
    })

    it('row 94: no private key of an identity or a daemon was ever at the edge', () => {
      const pems = ['one', 'two', 'four', 'other'].flatMap(home => [
        ...identitiesOf(home).map(path => readFileSync(join(machine(home), path), 'utf8')),
        ...Object.values(credentialsOf(home)),
      ])
      const linesOf = (label: string) =>
        pems.flatMap(text => new RegExp(`BEGIN ${label}-----\\n(.{60})`).exec(String(text))?.[1] ?? [])
      const files = readdirSync(join(site.folder, 'edge'), { recursive: true, withFileTypes: true })
        .filter(entry => entry.isFile())
        .map(entry => readFileSync(join(entry.parentPath, entry.name), 'latin1'))
      expect(linesOf('PRIVATE KEY').length).toBeGreaterThan(4)
      for (const line of linesOf('PRIVATE KEY')) expect(files.filter(text => text.includes(line))).toEqual([])
      // The search finds what is there: certificates of identities.
      expect(linesOf('CERTIFICATE').some(line => files.some(text => text.includes(line)))).toBe(true)
    })

    const identitiesOf = (home: string) => {
      const folder = join(machine(home), 'tunnels')
      try {
        return readdirSync(folder).map(file => join('tunnels', file))
      } catch {
        return []
      }
    }

    function identityOf(home: string, name: string) {
      const [path = ''] = identitiesOf(home).filter(file => file.includes(`/${name}-`))
      const text = readFileSync(join(machine(home), path), 'utf8')
      const at = text.indexOf('-----BEGIN PRIVATE')
      return { cert: text.slice(0, at), key: text.slice(at) }
    }

    function withCredentials(home: string, credentials: Credentials): Running {
      mkdirSync(machine(home), { mode: 0o700 })
      writeFileSync(join(machine(home), 'connector.json'), JSON.stringify({ version: 1, ...credentials }), {
        mode: 0o600,
      })
      return serve(home)
    }
  },
)
