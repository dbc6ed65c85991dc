import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '@postern/dev'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { badRequests, type Carried } from '../world/bad-requests.ts'
import { makeCertificate } from '../world/certificate.ts'
import { Life } from '../world/life.ts'
import { echoThenTail, type Origin, startOrigin } from '../world/origin.ts'
import { filesIn } from '../world/outputs.ts'
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
    const life = new Life()
    const { canaries, folder, data, home, tokens, asked } = life
    const PASSWORD = canaries.keep('password', `Pa55-${crypto.randomUUID()}`)
    const WRONG = canaries.keep('password that was wrong', `Wr0ng-${crypto.randomUUID()}`)
    let [idp, wiki, echo, port]: [OpenProvider, WebOrigin, Origin, number] = [] as never
    /** Files while somebody was signed in. */
    const kept: ReturnType<typeof filesIn>[number][] = []
    let metricsUrl = ''
    let loginUrl = ''
    let callbackUrl = ''
    let callbackCookies = ''

    const at = (hostname: string) => `https://${hostname}:${port}`

    beforeAll(async () => {
      port = await freePort()
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
    })
    afterAll(async () => {
      await life[Symbol.asyncDispose]()
      for (const one of [idp, wiki, echo]) await one?.[Symbol.asyncDispose]()
    })

    it('the edge, its first administrator, a tunnel, applications, a provider, a daemon', async () => {
      expect(await life.begin('postern-edge', ['init', '--data', data, '--team-domain', TEAM]).exit).toBe(0)
      const listen = ['--listen', `127.0.0.1:${port}`, '--allow-private', 'idp.localhost']
      const edge = life.begin('postern-edge', ['run', '--data', data, ...listen], {
        NODE_EXTRA_CA_CERTS: join(folder, 'idp.pem'),
      })
      await edge.says(/edge listens/)
      const [setupFile = ''] = filesIn(data)
        .map(({ path }) => path)
        .filter(path => path.includes('setup'))
      const setupToken = canaries.keep('setup token', readFileSync(join(data, setupFile), 'utf8').trim())
      await using root = await life.person()
      const setup = await life.page(root, `${at(TEAM)}/setup`)
      await setup.getByLabel('Setup token').fill(setupToken)
      await setup.getByLabel('Your email').fill('root@example.com')
      await setup.getByLabel('Your name').fill('Root')
      await setup.getByLabel(/password/i).fill(PASSWORD)
      await setup.getByRole('button').click()
      await setup.waitForURL(/\/$/)
      await life.keepCookies(root, 'root')

      await life.admin(['tunnel', 'create', 'home'])
      for (const [hostname, protocols] of [
        [WIKI, ['http', 'tcp']],
        [DOWN, ['http']],
        [KEEPERS, ['http']],
      ] as const) {
        const flags = ['--tunnel', 'home', ...protocols.flatMap(one => ['--protocol', one])]
        await life.admin(['admin', 'app', 'create', hostname, ...flags])
        const include = hostname === KEEPERS ? [{ group: 'keepers' }] : [{ email: ADA }, { email: PROVIDED }]
        const rules = [
          { name: 'people', action: 'allow', include },
          { name: 'robots', action: 'service', include: [{ anyServiceToken: true }] },
        ]
        await life.admin(['admin', 'policy', 'set', hostname, '--file', '-'], JSON.stringify(rules))
      }
      const provider = ['--name', 'The corporation', '--issuer', idp.issuer, '--client-id', idp.clientId]
      await life.admin(['admin', 'provider', 'set', 'corp', ...provider, '--client-secret-file', '-'], idp.clientSecret)
      const { token } = JSON.parse(await life.admin(['tunnel', 'token', 'home'])) as { token: string }
      writeFileSync(join(tokens, 'tunnel'), canaries.keep('tunnel token', token), { mode: 0o600 })
      const ingress = [
        { hostname: WIKI, service: wiki.service },
        { hostname: WIKI, service: `tcp://127.0.0.1:${echo.port}` },
        { hostname: DOWN, service: `http://127.0.0.1:${await freePort()}` },
        { hostname: KEEPERS, service: wiki.service },
      ]
      const config = { edge: at(TEAM), ca: life.caFile, tokenFile: join(tokens, 'tunnel'), ingress }
      writeFileSync(join(folder, 'posternd.yaml'), JSON.stringify(config))
      const metrics = await freePort()
      const daemon = life.begin('posternd', [
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
      const { link } = JSON.parse(await life.admin(['admin', 'user', 'invite', ADA])) as { link: string }
      canaries.keep('invitation', link.split('/').at(-1) ?? '')
      await using ada = await life.person()
      const invitation = await ada.newPage()
      await invitation.goto(link)
      await invitation.getByLabel('Your name').fill('Ada')
      await invitation.getByLabel(/password/i).fill(PASSWORD)
      await invitation.getByRole('button').click()
      await invitation.waitForURL(/\/$/)

      await using visitor = await life.person()
      const login = await life.page(visitor, `${at(WIKI)}/page?q=1`, 'the sign-in page')
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
      await life.page(visitor, `${at(DOWN)}/down`)
      await life.page(visitor, `${at(KEEPERS)}/denied`)
      await life.page(visitor, `${at(TEAM)}/nowhere`)
      await life.keepCookies(visitor, 'ada')

      await using other = await life.person()
      const provided = await other.newPage()
      await provided.goto(`${at(WIKI)}/by-provider`)
      await provided.getByRole('link', { name: /The corporation/ }).click()
      await provided.getByRole('heading', { name: '/by-provider' }).waitFor()
      await life.keepCookies(other, 'prov')
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
      const flags = ['--no-browser', '--trust-team', TEAM, '--ca', life.caFile]
      // Where there is a screen there is a person to ask.
      const login = life.begin('postern', ['access', 'login', at(WIKI), ...flags], { DISPLAY: ':99' })
      login.child.stdin?.end()
      const [url] = await login.says(/https:\/\/edge\.localhost:\d+\/oauth\/\S+/)
      await using visitor = await life.person()
      const confirm = await life.page(visitor, url, 'of a program')
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
      loginUrl = url
      const state = new URL(url).searchParams.get('state')
      if (state) canaries.keep('state of the program', state)

      const token = await life.postern(['access', 'token', '--app', at(WIKI)])
      canaries.keep('access token for an application', token.trim())
      for (const { text } of filesIn(home)) {
        for (const [, name = '', value = ''] of text.matchAll(/"(\w*[tT]oken)":"([^"]{16,})"/g))
          canaries.keep(`${name} of the program ${canaries.size}`, value)
      }
      expect(await life.postern(['access', 'curl', `${at(WIKI)}/by-curl`, '--silent'])).toContain('/by-curl')
      expect(await life.postern(['access', 'tcp', '--hostname', `${WIKI}:${port}`], 'abc')).toContain('abc')
      await expect(life.postern(['access', 'curl', `${at(KEEPERS)}/denied`, '--silent'])).rejects.toThrow(
        'ACCESS_DENIED',
      )

      const { id, secret } = JSON.parse(await life.admin(['admin', 'service-token', 'create', 'robot'])) as Record<
        'id' | 'secret',
        string
      >
      writeFileSync(join(tokens, 'service'), canaries.keep('service token’s secret', secret), { mode: 0o600 })
      writeFileSync(join(tokens, 'wrong'), canaries.keep('secret that was wrong', `${secret.slice(0, -8)}AAAAAAAA`), {
        mode: 0o600,
      })
      const service = (file: string) => ['--id', id, '--secret-file', join(tokens, file)]
      expect(
        await life.postern(['access', 'tcp', '--hostname', `${WIKI}:${port}`, ...service('service')], 'robot'),
      ).toContain('robot')
      await expect(
        life.postern(['access', 'tcp', '--hostname', `${WIKI}:${port}`, ...service('wrong')]),
      ).rejects.toThrow('AUTH')

      const made = JSON.parse(await life.admin(['admin', 'token', 'create', 'somebody'])) as { token: string }
      canaries.keep('admin token', made.token)
      await askBadly({ accessToken: token.trim(), serviceToken: { id, secret }, adminToken: made.token })
      kept.push(...filesIn(folder))
      await life.postern(['access', 'logout', '--all'])
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
      const audit = await life.admin(['admin', 'audit', '--limit', '1000'])
      canaries.show('audit', audit)
      canaries.show('sessions', await life.admin(['admin', 'session', 'list']))
      canaries.show('providers', await life.admin(['admin', 'provider', 'list']))
      canaries.show('export', await life.admin(['admin', 'export']))
      // The address that a person is to open is meant to be read, and good for that sign-in alone.
      life.showLogs(loginUrl)
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
