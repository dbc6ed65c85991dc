import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '@postern/dev'
import type { BrowserContext } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { badRequests, type Carried } from '../world/bad-requests.ts'
import { startBrowser, type TestBrowser } from '../world/browser.ts'
import { Canaries } from '../world/canaries.ts'
import { makeCertificate } from '../world/certificate.ts'
import { echoThenTail, type Origin, startOrigin } from '../world/origin.ts'
import { filesIn, ProcessWatch } from '../world/outputs.ts'
import { type Running, start } from '../world/program.ts'
import { type OpenProvider, startProvider } from '../world/provider.ts'
import { fetchTrusting, startWebOrigin, type WebOrigin } from '../world/site.ts'

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')
const missing = !['chromium', 'curl'].every(name => peers.includes(name))
const TEAM = 'edge.localhost'
const WIKI = 'wiki.localhost'
const DOWN = 'down.localhost'
const KEEPERS = 'keepers.localhost'
const ADA = 'ada@example.com'
const PROVIDED = 'prov@example.com'

/** A whole life, with every secret in it found out as it passes. */
describe.skipIf(missing)(
  'rows 42, 123: no secret leaves its place (needs: apt-get install chromium curl)',
  { timeout: 120_000 },
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'postern-canaries-'))
    const [data, home, tokens] = [join(folder, 'edge'), join(folder, 'home'), join(folder, 'tokens')]
    const running: Running[] = []
    const watch = new ProcessWatch()
    const canaries = new Canaries()
    /** What the browser asked for, with its Referer. */
    const asked: { readonly url: string; readonly referer: string }[] = []
    const PASSWORD = canaries.keep('password', `Pa55-${crypto.randomUUID()}`)
    const WRONG = canaries.keep('password that was wrong', `Wr0ng-${crypto.randomUUID()}`)
    let [browser, idp, wiki, echo, port]: [TestBrowser, OpenProvider, WebOrigin, Origin, number] = [] as never
    /** Files while somebody was signed in. */
    const kept: ReturnType<typeof filesIn>[number][] = []
    let metricsUrl = ''
    let callbackUrl = ''
    let callbackCookies = ''

    const at = (hostname: string) => `https://${hostname}:${port}`

    function begin(
      name: 'postern' | 'posternd' | 'postern-edge',
      args: readonly string[],
      env: NodeJS.ProcessEnv = {},
    ): Running {
      const program = start(name, [...args, '--log-level', 'debug'], { env: { POSTERN_HOME: home, ...env } })
      running.push(program)
      return program
    }

    /** `postern` to its end: what it says on stderr is a log, what on stdout is its result. */
    async function postern(args: readonly string[], input = '', code = 0): Promise<string> {
      const program = start('postern', args, {
        env: { POSTERN_HOME: home, POSTERN_CA: join(data, 'ca/ca.pem'), POSTERN_LOG_LEVEL: 'debug', DISPLAY: ':99' },
      })
      program.child.stdin?.end(input)
      const exit = await program.exit
      canaries.show(`log of postern ${args.slice(0, 3).join(' ')}`, program.stderr)
      if (exit !== code) throw new Error(`postern ${args.join(' ')}: ${exit} ${program.stderr}`)
      return program.stdout
    }
    const admin = (args: readonly string[], input = '') => postern([...args, '--data', data, '--json'], input)

    async function person(): Promise<BrowserContext> {
      const context = await browser.person()
      context.on('request', async request => {
        const entry = { url: request.url(), referer: '' }
        asked.push(entry)
        entry.referer = (await request.allHeaders().catch(() => ({}) as Record<string, string>)).referer ?? ''
      })
      return context
    }

    /** What the browser was given. */
    async function keepCookies(context: BrowserContext, who: string): Promise<void> {
      for (const { name, domain, value } of await context.cookies()) {
        if (name.startsWith('__Host-postern-')) canaries.keep(`${who}’s ${name} at ${domain}`, value)
      }
    }

    async function page(context: BrowserContext, url: string, name = url) {
      const shown = await context.newPage()
      await shown.goto(url)
      canaries.show(`page ${name}`, await shown.content())
      return shown
    }

    beforeAll(async () => {
      port = await freePort()
      mkdirSync(home, { mode: 0o700 })
      mkdirSync(tokens, { mode: 0o700 })
      idp = await startProvider(makeCertificate(folder), PROVIDED)
      canaries.keep('provider’s client secret', idp.clientSecret)
      wiki = await startWebOrigin((request, response) => {
        response.setHeader('content-type', 'text/html')
        const [path] = request.url?.split('?') ?? []
        const answer = () => response.end(`<h1>${path}</h1><a href="${at(TEAM)}/">team</a><img src="/picture">`)
        // Long enough for curl to be seen at work.
        setTimeout(answer, path === '/by-curl' ? 500 : 0)
      })
      echo = await startOrigin(echoThenTail)
      browser = await startBrowser()
    })
    afterAll(async () => {
      watch[Symbol.dispose]()
      await browser?.[Symbol.asyncDispose]()
      await Promise.all(running.map(one => one.stop('SIGKILL')))
      for (const one of [idp, wiki, echo]) await one?.[Symbol.asyncDispose]()
      rmSync(folder, { recursive: true, force: true })
    })

    it('the edge, its first administrator, a tunnel, applications, a provider, a daemon', async () => {
      expect(await begin('postern-edge', ['init', '--data', data, '--team-domain', TEAM]).exit).toBe(0)
      const listen = ['--listen', `127.0.0.1:${port}`, '--allow-private', 'idp.localhost']
      const edge = begin('postern-edge', ['run', '--data', data, ...listen], {
        NODE_EXTRA_CA_CERTS: join(folder, 'idp.pem'),
      })
      await edge.says(/edge listens/)
      const [setupFile = ''] = filesIn(data)
        .map(({ path }) => path)
        .filter(path => path.includes('setup'))
      const setupToken = canaries.keep('setup token', readFileSync(join(data, setupFile), 'utf8').trim())
      await using root = await person()
      const setup = await page(root, `${at(TEAM)}/setup`)
      await setup.getByLabel('Setup token').fill(setupToken)
      await setup.getByLabel('Your email').fill('root@example.com')
      await setup.getByLabel('Your name').fill('Root')
      await setup.getByLabel(/password/i).fill(PASSWORD)
      await setup.getByRole('button').click()
      await setup.waitForURL(/\/$/)
      await keepCookies(root, 'root')

      await admin(['tunnel', 'create', 'home'])
      for (const [hostname, protocols] of [
        [WIKI, ['http', 'tcp']],
        [DOWN, ['http']],
        [KEEPERS, ['http']],
      ] as const) {
        const flags = ['--tunnel', 'home', ...protocols.flatMap(one => ['--protocol', one])]
        await admin(['admin', 'app', 'create', hostname, ...flags])
        const include = hostname === KEEPERS ? [{ group: 'keepers' }] : [{ email: ADA }, { email: PROVIDED }]
        const rules = [
          { name: 'people', action: 'allow', include },
          { name: 'robots', action: 'service', include: [{ anyServiceToken: true }] },
        ]
        await admin(['admin', 'policy', 'set', hostname, '--file', '-'], JSON.stringify(rules))
      }
      const provider = ['--name', 'The corporation', '--issuer', idp.issuer, '--client-id', idp.clientId]
      await admin(['admin', 'provider', 'set', 'corp', ...provider, '--client-secret-file', '-'], idp.clientSecret)
      const { token } = JSON.parse(await admin(['tunnel', 'token', 'home'])) as { token: string }
      writeFileSync(join(tokens, 'tunnel'), canaries.keep('tunnel token', token), { mode: 0o600 })
      const ingress = [
        { hostname: WIKI, service: wiki.service },
        { hostname: WIKI, service: `tcp://127.0.0.1:${echo.port}` },
        { hostname: DOWN, service: `http://127.0.0.1:${await freePort()}` },
        { hostname: KEEPERS, service: wiki.service },
      ]
      const config = { edge: at(TEAM), ca: join(data, 'ca/ca.pem'), tokenFile: join(tokens, 'tunnel'), ingress }
      writeFileSync(join(folder, 'posternd.yaml'), JSON.stringify(config))
      const metrics = await freePort()
      const daemon = begin('posternd', [
        'run',
        '--config',
        join(folder, 'posternd.yaml'),
        '--metrics',
        `127.0.0.1:${metrics}`,
      ])
      await daemon.says(/connected to the edge/)
      metricsUrl = `http://127.0.0.1:${metrics}/metrics`
    })

    it('people with a browser: invited, wrong at first, let in, denied, before a service that is down; by a provider', async () => {
      const { link } = JSON.parse(await admin(['admin', 'user', 'invite', ADA])) as { link: string }
      canaries.keep('invitation', link.split('/').at(-1) ?? '')
      await using ada = await person()
      const invitation = await ada.newPage()
      await invitation.goto(link)
      await invitation.getByLabel('Your name').fill('Ada')
      await invitation.getByLabel(/password/i).fill(PASSWORD)
      await invitation.getByRole('button').click()
      await invitation.waitForURL(/\/$/)

      await using visitor = await person()
      const login = await page(visitor, `${at(WIKI)}/page?q=1`, 'the sign-in page')
      canaries.keep('ticket of a sign-in', new URL(login.url()).searchParams.get('state') ?? '')
      for (const password of [WRONG, PASSWORD]) {
        await login.getByLabel('Email').fill(ADA)
        await login.getByLabel('Password').fill(password)
        if (password === PASSWORD) {
          login.on('request', request => {
            if (!request.url().includes('/.postern/callback')) return
            callbackUrl = request.url()
          })
          callbackCookies = (await visitor.cookies(at(WIKI))).map(({ name, value }) => `${name}=${value}`).join('; ')
        }
        await login.getByRole('button', { name: 'Sign in' }).click()
        await login.waitForLoadState('networkidle')
        canaries.show('page after a password', await login.content())
      }
      await login.getByRole('heading', { name: '/page' }).waitFor()
      canaries.keep('code at the application', new URL(callbackUrl).searchParams.get('code') ?? '')
      await login.getByRole('link', { name: 'team' }).click()
      await login.waitForURL(/edge\.localhost:\d+\/$/)
      await page(visitor, `${at(DOWN)}/down`)
      await page(visitor, `${at(KEEPERS)}/denied`)
      await page(visitor, `${at(TEAM)}/nowhere`)
      await keepCookies(visitor, 'ada')

      await using other = await person()
      const provided = await other.newPage()
      await provided.goto(`${at(WIKI)}/by-provider`)
      await provided.getByRole('link', { name: /The corporation/ }).click()
      await provided.getByRole('heading', { name: '/by-provider' }).waitFor()
      await keepCookies(other, 'prov')
      for (const [name, value] of idp.secrets) canaries.keep(name, value)
      for (const [name, { url }] of asked.filter(one => one.url.includes('/.postern/callback')).entries())
        canaries.keep(`code at an application ${name}`, new URL(url).searchParams.get('code') ?? '')
    })

    it('the code in the address that the browser keeps is dead', async () => {
      const before = wiki.requests.length
      const { status, cookies } = await fetchTrusting(callbackUrl, { headers: { cookie: callbackCookies } })
      expect([
        status >= 400,
        cookies.filter(one => one.startsWith('__Host-postern-session=') && !/max-age=0/i.test(one)),
      ]).toEqual([true, []])
      expect(wiki.requests.length).toBe(before)
    })

    it('programs: signed in, token, curl, TCP, service tokens right and wrong, signed out', async () => {
      const login = start(
        'postern',
        ['access', 'login', at(WIKI), '--no-browser', '--trust-team', TEAM, '--log-level', 'debug'],
        {
          env: { POSTERN_HOME: home, POSTERN_CA: join(data, 'ca/ca.pem'), DISPLAY: ':99' },
        },
      )
      running.push(login)
      login.child.stdin?.end()
      const [url] = await login.says(/https:\/\/edge\.localhost:\d+\/oauth\/\S+/)
      await using visitor = await person()
      const confirm = await page(visitor, url, 'of a program')
      await confirm.getByLabel('Email').fill(ADA)
      await confirm.getByLabel('Password').fill(PASSWORD)
      await confirm.getByRole('button', { name: 'Sign in' }).click()
      await confirm.getByRole('button', { name: 'Yes, sign in' }).click()
      await confirm.waitForURL(/^http:\/\/127\.0\.0\.1:\d+\//)
      const back = asked
        .map(one => new URL(one.url))
        .find(one => one.hostname === '127.0.0.1' && one.searchParams.has('code'))
      canaries.keep('code at the program', back?.searchParams.get('code') ?? '')
      expect(await login.exit).toBe(0)
      // The address that a person is to open is meant to be read, and good for this sign-in alone.
      canaries.show('log of postern access login', login.stdout + login.stderr.replaceAll(url, '').replaceAll(url.trim(), ''))
      const state = new URL(url).searchParams.get('state')
      if (state) canaries.keep('state of the program', state)

      const token = await postern(['access', 'token', '--app', at(WIKI)])
      canaries.keep('access token for an application', token.trim())
      for (const { text } of filesIn(home)) {
        for (const [, name = '', value = ''] of text.matchAll(/"(\w*[tT]oken)":"([^"]{16,})"/g))
          canaries.keep(`${name} of the program ${canaries.size}`, value)
      }
      expect(await postern(['access', 'curl', `${at(WIKI)}/by-curl`, '--silent'])).toContain('/by-curl')
      expect(await postern(['access', 'tcp', '--hostname', `${WIKI}:${port}`], 'abc')).toContain('abc')
      await postern(['access', 'curl', `${at(KEEPERS)}/denied`, '--silent'], '', 14).catch(() => {})

      const { id, secret } = JSON.parse(await admin(['admin', 'service-token', 'create', 'robot'])) as Record<
        'id' | 'secret',
        string
      >
      writeFileSync(join(tokens, 'service'), canaries.keep('service token’s secret', secret), { mode: 0o600 })
      writeFileSync(join(tokens, 'wrong'), canaries.keep('secret that was wrong', `${secret.slice(0, -8)}AAAAAAAA`), {
        mode: 0o600,
      })
      const service = (file: string) => ['--id', id, '--secret-file', join(tokens, file)]
      expect(
        await postern(['access', 'tcp', '--hostname', `${WIKI}:${port}`, ...service('service')], 'robot'),
      ).toContain('robot')
      await expect(postern(['access', 'tcp', '--hostname', `${WIKI}:${port}`, ...service('wrong')])).rejects.toThrow(
        'AUTH',
      )

      const made = JSON.parse(await admin(['admin', 'token', 'create', 'somebody'])) as { token: string }
      canaries.keep('admin token', made.token)
      await askBadly({ accessToken: token.trim(), serviceToken: { id, secret }, adminToken: made.token })
      kept.push(...filesIn(folder))
      await postern(['access', 'logout', '--all'])
    })

    async function askBadly(carried: Pick<Carried, 'accessToken' | 'serviceToken' | 'adminToken'>): Promise<void> {
      const hosts = {
        team: at(TEAM),
        app: at(WIKI),
        closed: at(KEEPERS),
        down: at(DOWN),
        unknown: at('nobody.localhost'),
      }
      const all = badRequests(hosts, {
        ...carried,
        cookie: canaries.get(`ada’s __Host-postern-session at ${WIKI}`),
        teamCookie: canaries.get(`ada’s __Host-postern-team at ${TEAM}`),
        password: PASSWORD,
        provider: { code: canaries.get('provider’s code 1'), state: canaries.get('provider’s state 1') },
      })
      for (const { url, ...asking } of all) {
        const answer = await fetchTrusting(url, asking)
        canaries.show(
          `answer to ${asking.method} ${url.split('?')[0]}`,
          `${JSON.stringify(answer.headers)}\n${answer.body}`,
        )
        expect(answer.status, `${asking.method} ${url}`).toBeGreaterThan(299)
      }
    }

    it('none of it is in a log, an audit row, a metric, an answer, an argument, an environment', async () => {
      for (const { headers } of wiki.requests) {
        const identity = headers['postern-identity']
        if (typeof identity === 'string') canaries.keep(`identity token ${canaries.size}`, identity)
      }
      canaries.show('metrics', await (await fetch(metricsUrl)).text())
      const audit = await admin(['admin', 'audit', '--limit', '1000'])
      canaries.show('audit', audit)
      canaries.show('sessions', await admin(['admin', 'session', 'list']))
      canaries.show('providers', await admin(['admin', 'provider', 'list']))
      canaries.show('export', await admin(['admin', 'export']))
      for (const [n, one] of running.entries()) {
        const isLogin = one.child.spawnargs.includes('login')
        if (!isLogin)
          canaries.show(`log of program ${n} ${one.child.spawnargs.slice(2, 4).join(' ')}`, one.stdout + one.stderr)
      }
      watch.look()
      for (const [name, text] of watch.outputs) canaries.show(name, text)
      expect(canaries.size).toBeGreaterThan(30)
      expect(audit).toContain(ADA)
      expect([...canaries.outputs.keys()].some(where => where.startsWith('arguments of curl'))).toBe(true)
      expect([...canaries.outputs].filter(([, text]) => text.includes('PRIVATE KEY'))).toEqual([])
      // The form of the sign-in page carries its ticket: it is worth nothing without that browser’s cookie.
      const isForm = /^ticket of a sign-in.* in page (the sign-in page|after a password)/
      expect(canaries.found().filter(one => !isForm.test(one))).toEqual([])
    })

    it('none of it is in a file but those that are meant to keep it, for their user alone', () => {
      const found = [...kept, ...filesIn(folder)].flatMap(({ path, mode, text }) =>
        canaries.in(text).map(what => ({ path, mode: mode.toString(8), what })),
      )
      const isMeant = ({ path }: { path: string }) => path.startsWith('tokens/') || path.startsWith('home/')
      expect(found.filter(one => !isMeant(one))).toEqual([])
      expect(found.filter(one => one.mode !== '600')).toEqual([])
      // The scan finds what is there.
      const whats = found.map(({ what }) => what)
      expect(whats).toEqual(expect.arrayContaining(['tunnel token', 'access token for an application']))
    })

    it('no address has more than a browser must carry, once, and no Referer has any of it', () => {
      const inUrl = asked.flatMap(({ url }) =>
        canaries.in(decodeURIComponent(url)).map(what => ({ what, url: new URL(url).pathname })),
      )
      const isMeant = ({ what, url }: { what: string; url: string }) =>
        (what.includes('code') && /^\/(\.postern\/callback|login\/callback\/corp|callback|)$/.test(url)) ||
        (/ticket|state/.test(what) && /^\/(login.*|authorize|oauth\/.*|callback|)$/.test(url)) ||
        (what === 'invitation' && url.startsWith('/invite/'))
      expect(inUrl.filter(one => !isMeant(one))).toEqual([])
      const codes = inUrl.filter(({ what }) => what.startsWith('code at an application')).map(({ what }) => what)
      expect(codes.length).toBeGreaterThan(1)
      expect(new Set(codes).size, 'each code once').toBe(codes.length)
      const referers = [
        ...asked.map(({ referer }) => referer),
        ...idp.referers,
        ...wiki.requests.map(({ headers }) => headers.referer ?? ''),
      ]
      expect(
        referers.some(one => one !== ''),
        'there are some',
      ).toBe(true)
      expect(referers.flatMap(one => canaries.in(decodeURIComponent(one)))).toEqual([])
      const toWiki = wiki.requests.map(
        ({ url, headers }) => `${url} ${headers.cookie ?? ''} ${headers.authorization ?? ''}`,
      )
      expect(toWiki.flatMap(one => canaries.in(one))).toEqual([])
    })
  },
)
