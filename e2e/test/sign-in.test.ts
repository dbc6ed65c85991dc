import { setTimeout as sleep } from 'node:timers/promises'
import type { BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startBrowser, type TestBrowser } from '../world/browser.ts'
import { type Site, startSite, startWebOrigin, type WebOrigin } from '../world/site.ts'

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')
const PASSWORD = 'correct horse battery staple'
const CONTACT = 'Ask ops@example.com.'

const allow = (...include: object[]) => [{ name: 'staff', action: 'allow' as const, include }]

describe.skipIf(!peers.includes('chromium'))(
  'people with a browser (needs: apt-get install chromium)',
  { timeout: 120_000 },
  () => {
    let wiki: WebOrigin
    let secret: WebOrigin
    let site: Site
    let browser: TestBrowser

    beforeAll(async () => {
      wiki = await startWebOrigin((request, response) => {
        response.setHeader('content-type', 'text/html')
        response.end(`<title>Wiki</title><h1>${request.url}</h1><script>
          let last = 'nothing'
          const socket = new WebSocket('wss://' + location.host + '/live')
          socket.onmessage = event => { last = event.data; document.title = 'heard ' + event.data }
          socket.onclose = event => { document.title = 'closed ' + event.code }
        </script>`)
      })
      secret = await startWebOrigin((_request, response) => response.end('the secret'))
      const http = { protocols: ['http'], service: wiki.service }
      site = await startSite({
        'wiki.localhost': { ...http, rules: allow({ emailDomain: 'example.com' }), options: { name: 'The wiki' } },
        'other.localhost': { ...http, rules: allow({ group: 'staff' }) },
        'secret.localhost': {
          protocols: ['http'],
          service: secret.service,
          rules: allow({ group: 'keepers' }),
          options: { contact: CONTACT },
        },
      })
      await site.person('ann@example.com', PASSWORD, ['staff'])
      browser = await startBrowser()
    })
    afterAll(async () => {
      await browser?.[Symbol.asyncDispose]()
      await site?.[Symbol.asyncDispose]()
      await wiki?.[Symbol.asyncDispose]()
      await secret?.[Symbol.asyncDispose]()
    })

    async function signIn(page: Page, password = PASSWORD): Promise<void> {
      await page.getByLabel('Email').fill('ann@example.com')
      await page.getByLabel('Password').fill(password)
      await page.getByRole('button', { name: 'Sign in' }).click()
    }

    async function open(person: BrowserContext, hostname: string, path = '/'): Promise<Page> {
      const page = await person.newPage()
      await page.goto(site.at(hostname) + path)
      return page
    }

    it('open an application, sign in, and are where they wanted to go', async () => {
      await using person = await browser.person()
      const before = wiki.requests.length
      const page = await open(person, 'wiki.localhost', '/a/page?with=a%20query')
      expect(new URL(page.url()).host).toBe(new URL(site.team).host)
      await signIn(page, 'something else entirely')
      await page.getByRole('alert').waitFor()
      expect(wiki.requests.length, 'nothing reached the application').toBe(before)
      await page.getByLabel('Password').fill(PASSWORD)
      await page.getByRole('button', { name: 'Sign in' }).click()
      await page.getByRole('heading', { name: '/a/page?with=a%20query' }).waitFor()
      expect(page.url()).toBe(`${site.at('wiki.localhost')}/a/page?with=a%20query`)
      const sent = wiki.requests.find(one => one.url?.startsWith('/a/page'))
      expect(sent?.headers['postern-identity']).toMatch(/^ey/)
      expect(sent?.headers.cookie ?? '').not.toContain('postern')
    })

    it('sign in once: the second application asks nothing', async () => {
      await using person = await browser.person()
      await signIn(await open(person, 'wiki.localhost'))
      const page = await open(person, 'other.localhost', '/second')
      await page.getByRole('heading', { name: '/second' }).waitFor()
    })

    it('are told why they may not open one, and whom to ask; nothing reaches it', async () => {
      await using person = await browser.person()
      await signIn(await open(person, 'wiki.localhost'))
      const page = await open(person, 'secret.localhost')
      await page.getByText('ann@example.com').first().waitFor()
      await page.getByText(CONTACT).waitFor()
      expect([secret.requests.length, secret.connections]).toEqual([0, 0])
      await site.edge.administration.call('user.put', {
        params: { user: 'ann@example.com' },
        body: { groups: ['staff', 'keepers'] },
      })
      await using again = await browser.person()
      const allowed = await open(again, 'secret.localhost')
      await signIn(allowed)
      await allowed.getByText('the secret').waitFor()
    })

    it('are out within seconds when their session is revoked: page and WebSocket', async () => {
      await using person = await browser.person()
      const page = await open(person, 'wiki.localhost', '/live-page')
      await signIn(page)
      await page.waitForFunction('document.title === "heard hello"')
      const { administration } = site.edge
      const before = await administration.call('session.list', { query: {} })
      for (const { id } of before) await administration.call('session.revoke', { body: { session: id } } as never)
      await page.waitForFunction('document.title.startsWith("closed")', undefined, { timeout: 5000 })
      const reached = wiki.requests.length
      await page.goto(`${site.at('wiki.localhost')}/again`)
      await page.getByLabel('Password').waitFor()
      await sleep(100)
      expect(wiki.requests.length).toBe(reached)
    })

    it('sign out, and a saved page asks again', async () => {
      await using person = await browser.person()
      const page = await open(person, 'wiki.localhost', '/mine')
      await signIn(page)
      await page.getByRole('heading', { name: '/mine' }).waitFor()
      await page.goto(`${site.team}/logout`)
      await page
        .getByRole('button', { name: /sign out/i })
        .first()
        .click()
      await page
        .getByText(/signed out/i)
        .first()
        .waitFor()
      await page.goto(`${site.at('wiki.localhost')}/mine`)
      await page.getByLabel('Password').waitFor()
    })
  },
)
