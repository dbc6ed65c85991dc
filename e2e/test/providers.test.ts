import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '@postern/dev'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startBrowser, type TestBrowser } from '../world/browser.ts'
import { makeCertificate } from '../world/certificate.ts'
import { LEMONLDAP_PEERS, type Lemonldap, startLemonldap } from '../world/lemonldap.ts'
import { type Running, run, scriptOf, start } from '../world/program.ts'
import { startWebOrigin, type WebOrigin } from '../world/site.ts'

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')
const missing = !['chromium', ...LEMONLDAP_PEERS].every(name => peers.includes(name))
const TEAM = 'edge.localhost'
const APP = 'wiki.localhost'

/** One provider of another make, one edge, each a process, told of each other by command as an administrator would. */
describe.skipIf(missing)(
  'an identity provider of another make, LemonLDAP::NG (needs: apt-get install chromium liblemonldap-ng-portal-perl libstring-random-perl libio-string-perl)',
  { timeout: 120_000 },
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'postern-idp-'))
    const data = join(folder, 'edge')
    const running: Running[] = []
    let idp: Lemonldap
    let browser: TestBrowser
    let wiki: WebOrigin
    let port: number

    const postern = async (args: readonly string[], input?: string): Promise<string> => {
      const at = {
        env: { ...process.env, POSTERN_HOME: join(folder, 'home'), POSTERN_ADMIN_SOCKET: join(data, 'admin.sock') },
      }
      const done = await run(process.execPath, [scriptOf('postern'), ...args], {
        ...at,
        ...(input !== undefined && { input }),
      })
      if (done.code !== 0) throw new Error(`postern ${args.join(' ')}: ${done.code} ${done.stderr}`)
      return done.stdout
    }

    beforeAll(async () => {
      port = await freePort()
      const tls = makeCertificate(folder)
      idp = await startLemonldap({ folder, tls, redirectUri: `https://${TEAM}:${port}/login/callback/corp` })
      wiki = await startWebOrigin((request, response) => response.end(`page ${request.url}`))
      expect(await start('postern-edge', ['init', '--data', data, '--team-domain', TEAM]).exit).toBe(0)
      const listen = ['--listen', `127.0.0.1:${port}`, '--allow-private', 'idp.localhost']
      const edge = start('postern-edge', ['run', '--data', data, ...listen], {
        env: { NODE_EXTRA_CA_CERTS: join(folder, 'idp.pem') },
      })
      running.push(edge)
      await edge.says(/edge listens/)
      await postern(['tunnel', 'create', 'home'])
      await postern(['admin', 'app', 'create', APP, '--tunnel', 'home', '--protocol', 'http'])
      const rules = JSON.stringify([{ name: 'tardis', action: 'allow', include: [{ email: 'dwho@badwolf.org' }] }])
      await postern(['admin', 'policy', 'set', APP, '--file', '-'], rules)
      const { token } = JSON.parse(await postern(['tunnel', 'token', 'home', '--json'])) as { token: string }
      const daemon = start(
        'posternd',
        [
          '--hostname',
          APP,
          '--url',
          wiki.service,
          '--edge',
          `https://${TEAM}:${port}`,
          '--ca',
          join(data, 'ca/ca.pem'),
        ],
        { env: { TUNNEL_TOKEN: token } },
      )
      running.push(daemon)
      await daemon.says(/connected to the edge/)
      // It does not say whether an email is verified.
      const secret = ['--client-id', idp.clientId, '--client-secret-file', '-', '--trust-email']
      await postern(
        ['admin', 'provider', 'set', 'corp', '--name', 'The corporation', '--issuer', idp.issuer, ...secret],
        idp.clientSecret,
      )
      browser = await startBrowser()
    })
    afterAll(async () => {
      await browser?.[Symbol.asyncDispose]()
      await Promise.all(running.map(one => one.stop('SIGKILL')))
      await idp?.[Symbol.asyncDispose]()
      await wiki?.[Symbol.asyncDispose]()
      rmSync(folder, { recursive: true, force: true })
    })

    async function signInAs(user: string) {
      const person = await browser.person()
      const page = await person.newPage()
      await page.goto(`https://${APP}:${port}/start?here=1`)
      // The only way to sign in: nobody has to choose it.
      await page.locator('input[name=user]').fill(user)
      await page.locator('input[name=password]').fill(user)
      await page.locator('button[type=submit]').first().click()
      return { page, [Symbol.asyncDispose]: () => person.close() }
    }

    it('lets in whom a rule names by the email that it vouches for', async () => {
      await using visit = await signInAs('dwho')
      await visit.page.getByText('page /start?here=1').waitFor()
      const sessions = JSON.parse(await postern(['admin', 'session', 'list', '--json'])) as { issuer: string }[]
      expect(sessions.map(({ issuer }) => issuer)).toContain(idp.issuer)
    })

    it('and nobody else', async () => {
      const before = wiki.requests.length
      await using visit = await signInAs('rtyler')
      await visit.page.getByText('rtyler').first().waitFor()
      expect(await visit.page.locator('h1').textContent()).toContain('cannot open')
      expect(wiki.requests.length).toBe(before)
    })
  },
)
