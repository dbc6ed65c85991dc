import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, statSync, symlinkSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startBrowser, type TestBrowser } from '../world/browser.ts'
import { scriptOf } from '../world/program.ts'
import { type Site, startSite, startWebOrigin, type WebOrigin } from '../world/site.ts'

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')
const PASSWORD = 'correct horse battery staple'

describe.skipIf(!['chromium', 'curl'].every(name => peers.includes(name)))(
  'administrators with a browser (needs: apt-get install chromium curl)',
  { timeout: 120_000 },
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'postern-admin-page-'))
    const greeter = createServer(socket => socket.on('error', () => {}).end('hello over TCP\n'))
    let wiki: WebOrigin
    let site: Site
    let browser: TestBrowser

    beforeAll(async () => {
      wiki = await startWebOrigin((request, response) => response.end(`page ${request.url}\n`))
      await new Promise<void>(resolve => greeter.listen(0, '127.0.0.1', resolve))
      const rules = [{ name: 'staff', action: 'allow' as const, include: [{ emailDomain: 'example.com' }] }]
      const { port } = greeter.address() as { port: number }
      site = await startSite({
        'wiki.localhost': { protocols: ['http'], service: wiki.service, rules, options: { name: 'The wiki' } },
        'db.localhost': { protocols: ['tcp'], service: `tcp://127.0.0.1:${port}`, rules },
      })
      await site.person('root@example.com', PASSWORD)
      await site.person('ann@example.com', PASSWORD)
      const body = { administrators: [{ email: 'root@example.com' }] }
      await site.edge.administration.call('settings.put', { body })
      browser = await startBrowser()
      // As on a machine where it is installed.
      symlinkSync(scriptOf('postern'), join(folder, 'postern'))
    })
    afterAll(async () => {
      await browser?.[Symbol.asyncDispose]()
      await site?.[Symbol.asyncDispose]()
      await wiki?.[Symbol.asyncDispose]()
      greeter.close()
      rmSync(folder, { recursive: true, force: true })
    })

    async function signIn(page: Page, email: string): Promise<void> {
      await page.getByLabel('Email').fill(email)
      await page.getByLabel('Password').fill(PASSWORD)
      await page.getByRole('button', { name: 'Sign in' }).click()
    }

    /** From the first page, as people find it. */
    async function administer(person: BrowserContext): Promise<Page> {
      const page = await person.newPage()
      await page.goto(site.team)
      await signIn(page, 'root@example.com')
      await page.getByRole('link', { name: 'Administration' }).click()
      await page.getByRole('heading', { name: 'Service tokens' }).waitFor()
      return page
    }

    async function linesIn(page: Page, where: string): Promise<string> {
      return (await page.locator(where).textContent()) ?? ''
    }

    /** What somebody pastes into a terminal. */
    function paste(lines: string): Promise<{ readonly code: number; readonly out: string }> {
      const env = {
        PATH: `${folder}:${process.env.PATH}`,
        HOME: folder,
        POSTERN_HOME: join(folder, 'home'),
        POSTERN_CA: site.caFile,
        CURL_CA_BUNDLE: site.caFile,
      }
      return new Promise(resolve => {
        const running = execFile('bash', ['-s'], { env, cwd: folder, timeout: 60_000 }, (error, stdout, stderr) =>
          resolve({ code: Number(error?.code ?? 0), out: stdout + stderr }),
        )
        running.stdin?.end(`${lines}\n`)
      })
    }

    async function makeToken(page: Page, name: string, ...applications: string[]): Promise<void> {
      await page.goto(`${site.team}/admin/service-tokens/new`)
      await page.getByLabel('Name', { exact: true }).fill(name)
      await page.getByLabel('Expires after').selectOption('1 day')
      for (const one of applications) await page.getByLabel(one).check()
      await page.getByRole('button', { name: 'Make the service token' }).click()
      await page.getByText('Copy the secret now').waitFor()
    }

    it('make a service token that works in curl as the page says, until it is revoked there', async () => {
      await using person = await browser.person()
      const page = await administer(person)
      await page.getByRole('link', { name: 'New service token' }).click()
      await makeToken(page, 'nightly build', 'The wiki')
      const lines = await linesIn(page, '#use-curl')
      const first = await paste(lines)
      expect(first.out.split('\n')).toContain('page /')
      expect(statSync(join(folder, 'nightly-build.headers')).mode & 0o777).toBe(0o600)
      expect(wiki.requests.at(-1)?.headers).not.toHaveProperty('postern-client-secret')

      // Loaded again, the page shows no secret, and makes no second token.
      await page.reload()
      await page.getByRole('heading', { name: 'This form was sent already' }).waitFor()
      expect(await page.content()).not.toContain('psts_')
      expect(await site.edge.administration.call('service-token.list', {})).toHaveLength(1)

      await page.getByRole('link', { name: 'To the service tokens' }).click()
      await page.getByRole('link', { name: 'nightly build' }).click()
      await page.getByRole('button', { name: 'Revoke nightly build' }).click()
      await page.getByText('The service token is revoked').waitFor()
      const seen = wiki.requests.length
      const after = await paste(lines)
      expect(after.out).toContain('TOKEN_REVOKED')
      expect(after.out.split('\n')).not.toContain('page /')
      expect(wiki.requests.length, 'nothing reached the application').toBe(seen)
    })

    it('make one for TCP: the lines for postern work, here without a port of their own', async () => {
      await using person = await browser.person()
      const page = await administer(person)
      await makeToken(page, 'dumper', 'db.localhost')
      const lines = (await linesIn(page, '#use-access')).replace(/--url \S+ /, '')
      const { out } = await paste(`${lines} < /dev/null`)
      expect(out).toBe('hello over TCP\n')
    })

    it('rotate one: the new secret works, and the old one does until its time is over', async () => {
      await using person = await browser.person()
      const page = await administer(person)
      await makeToken(page, 'turning', 'The wiki')
      const old = await linesIn(page, '#use-curl')
      await page.getByRole('link', { name: 'I have copied it' }).click()
      await page.getByLabel('The current secret').selectOption('Ends at once')
      await page.getByRole('button', { name: 'Make a new secret' }).click()
      await page.getByRole('heading', { name: 'turning has a new secret' }).waitFor()
      const next = await linesIn(page, '#use-curl')
      expect(next).not.toBe(old)
      expect((await paste(next)).out.split('\n')).toContain('page /')
      expect((await paste(old)).out).toContain('AUTH_REJECTED')
    })

    it('end a session: whoever had it is out at once, and an open WebSocket too', async () => {
      await using ann = await browser.person()
      const theirs = await ann.newPage()
      await theirs.goto(`${site.at('wiki.localhost')}/`)
      await signIn(theirs, 'ann@example.com')
      await theirs.getByText('page /').waitFor()
      await theirs.evaluate(`new Promise(resolve => {
        const socket = new WebSocket('wss://' + location.host + '/live')
        socket.onmessage = resolve
        socket.onclose = () => { document.title = 'closed' }
      })`)
      await using person = await browser.person()
      const page = await administer(person)
      await page.getByRole('link', { name: 'Sessions' }).click()
      const row = page.locator('ul.rows > li').filter({ hasText: 'ann@example.com' })
      expect(await row.textContent()).toContain('Chrome on Linux')
      // With what opened their invitation there are two.
      await row.getByRole('button', { name: 'End all' }).click()
      await page.getByText('Ended. Whatever was open is cut off.').waitFor()
      await theirs.waitForFunction('document.title === "closed"', undefined, { timeout: 5000 })
      await theirs.goto(`${site.at('wiki.localhost')}/`)
      await theirs.getByLabel('Password').waitFor()
    })

    it('who end their own are signed out; others are told that this is not for them', async () => {
      await using person = await browser.person()
      const page = await administer(person)
      await page.getByRole('link', { name: 'Sessions' }).click()
      const own = page.locator('ul.inner > li').filter({ hasText: 'this browser' })
      await own.getByRole('button', { name: 'End' }).click()
      await page.getByRole('heading', { name: 'You are signed out' }).waitFor()
      await page.getByRole('link', { name: 'Sign in again' }).click()
      await signIn(page, 'ann@example.com')
      await page.getByRole('heading', { name: 'For administrators only' }).waitFor()
      expect(new URL(page.url()).pathname).toBe('/admin/sessions')
    })
  },
)
