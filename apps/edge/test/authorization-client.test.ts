import { readFileSync } from 'node:fs'
import { request } from 'node:https'
import client from '@postern/auth-browser-sso/client'
import type { AuthRequest, ClientHost, Credential, Secrets } from '@postern/interface'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Browser } from './sign-in-browser.ts'
import { nextOf } from './sign-in-browser.ts'
import { PASSWORD, people, type SignInWorld, startSignInWorld } from './sign-in-world.ts'
import { call } from './world.ts'

const TEAM = 'https://edge.localhost'

let w: SignInWorld
beforeAll(async () => {
  w = await startSignInWorld({ publicPort: 443 })
  await w.user('ada@example.com', 'Ada')
  await w.application('wiki', people('ada@example.com'))
  await w.application('docs', people('ada@example.com'))
  await w.application('secret', people('bob@example.com'))
})
afterAll(async () => w[Symbol.asyncDispose]())

/** A person’s machine: what is kept there, and what is done when a browser opens. */
class Machine {
  readonly kept = new Map<string, string>()
  readonly shown: string[] = []
  opened = 0
  browse: (url: URL) => Promise<void> = async () => {}

  host(): ClientHost {
    return {
      secrets: this.#secrets(),
      ui: {
        show: line => void this.shown.push(line),
        open: async url => {
          this.opened += 1
          void this.browse(url)
          return true
        },
        ask: async () => 'y',
      },
      fetch: (url, init) => fetchFrom(url, init),
    }
  }

  async authenticate(name: string, device = false, refused?: AuthRequest['refused']): Promise<Credential> {
    const options = { device, browser: true, trustTeam: 'edge.localhost' }
    const provider = await client.create(options as never, this.host() as never)
    const app = { hostname: `${name}.localhost`, id: name, teamDomain: 'edge.localhost', protocols: ['http'] }
    return provider.authenticate({ purpose: 'access', app, ...(refused && { refused }) } as AuthRequest, call)
  }

  #secrets(): Secrets {
    const turns = new Map<string, Promise<unknown>>()
    return {
      get: async key => this.kept.get(key),
      set: async (key, value) => void this.kept.set(key, value),
      delete: async key => void this.kept.delete(key),
      exclusively: async (key, work) => {
        const mine = (turns.get(key) ?? Promise.resolve()).then(work)
        const over = mine.catch(() => {})
        turns.set(key, over)
        return mine
      },
    }
  }
}

/** The hostnames are all at the edge’s port. */
async function fetchFrom(url: URL, init: RequestInit): Promise<Response> {
  const ca = readFileSync(w.world.edge.caFile ?? '')
  const asked = new Request(url, init)
  const body = await asked.text()
  return new Promise((resolve, reject) => {
    const path = url.pathname + url.search
    const to = { host: '127.0.0.1', port: w.world.edge.port, servername: url.hostname, ca, agent: false } as const
    const headers = { ...Object.fromEntries(asked.headers), host: url.host }
    const sent = request({ ...to, method: asked.method, path, headers }, async answer => {
      const chunks: Buffer[] = []
      for await (const chunk of answer) chunks.push(chunk as Buffer)
      const fields = Object.entries(answer.headers).map(([name, value]): [string, string] => [name, String(value)])
      resolve(new Response(Buffer.concat(chunks), { status: answer.statusCode ?? 0, headers: fields }))
    })
    sent.once('error', reject)
    sent.end(body)
  })
}

/** Signs in with the password, where the browser is asked for it, and answers the question. */
function person(browser: Browser, answer = 'yes'): (url: URL) => Promise<void> {
  return async url => {
    const first = await browser.open(url)
    const isAsked = first.body.includes('name="password"')
    const question = isAsked ? await browser.submit(first, { email: 'ada@example.com', password: PASSWORD }) : first
    const action = /action="([^"]+)"/.exec(question.body)?.[1] ?? ''
    const csrf = /name="csrf"[^>]* value="([^"]+)"/.exec(question.body)?.[1] ?? ''
    const on = nextOf(await browser.ask(new URL(action, TEAM), { form: { csrf, answer } }))
    const back = nextOf(await browser.ask(on ?? ''))
    await fetch(back ?? '')
  }
}

const open = (name: string, { headers = {} }: Credential) =>
  w.browser().ask(`https://${name}.localhost/x`, { headers: { ...(headers as object), accept: 'application/json' } })

describe('the plugin at a real edge', () => {
  test('signs in once, is let in at two applications, and is told where it is not', async () => {
    const machine = new Machine()
    machine.browse = person(w.browser())
    const wiki = await machine.authenticate('wiki')
    expect(wiki.account).toMatchObject({ email: 'ada@example.com' })
    expect((await open('wiki', wiki)).status).toBe(200)
    expect((await open('docs', await machine.authenticate('docs'))).status).toBe(200)
    await expect(machine.authenticate('secret')).rejects.toMatchObject({ code: 'ACCESS_DENIED' })
    expect(machine.opened).toBe(1)
    const before = w.reached.length
    expect((await open('docs', wiki)).status).toBe(401)
    expect(w.reached.length).toBe(before)
  })

  test('who says no is told so', async () => {
    const machine = new Machine()
    machine.browse = person(w.browser(), 'no')
    await expect(machine.authenticate('wiki')).rejects.toMatchObject({ code: 'LOGIN_REQUIRED' })
  })

  test('with a code on another device', async () => {
    const machine = new Machine()
    const credential = machine.authenticate('wiki', true)
    const browser = w.browser()
    const page = await w.withPassword(browser, `${TEAM}/device`, 'ada@example.com')
    await expect.poll(() => machine.shown.length, { timeout: 10_000 }).toBeGreaterThan(1)
    const code = machine.shown.map(line => /^\s*([A-Z]{4}-[A-Z]{4})$/.exec(line)?.[1]).find(found => found) ?? ''
    const asked = await browser.submit(page, { user_code: code })
    expect(asked.body).toContain('wiki.localhost')
    const done = await browser.submit(asked, { answer: 'yes' })
    expect(done.body).toContain('It is signed in')
    expect((await open('wiki', await credential)).status).toBe(200)
  })

  test('signed out, nothing of it is good, and the next command signs in again', async () => {
    const machine = new Machine()
    machine.browse = person(w.browser())
    const credential = await machine.authenticate('wiki')
    const provider = await client.create(
      { device: false, browser: true, trustTeam: 'edge.localhost' } as never,
      machine.host() as never,
    )
    await provider.signOut?.(undefined, call)
    expect((await open('wiki', credential)).status).toBe(401)
    expect((await open('wiki', await machine.authenticate('wiki'))).status).toBe(200)
    expect(machine.opened).toBe(2)
  })
})
