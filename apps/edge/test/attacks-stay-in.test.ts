import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { rowsOf } from '../src/sign-in/session-record.ts'
import { type Browser, hidden, type Shown } from './sign-in-browser.ts'
import { people, type SignInWorld, startSignInWorld } from './sign-in-world.ts'
import { dial, parseAnswer, readAnswer } from './visitor.ts'

const CHALLENGE = 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM'
const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code'
const JSON_FORM = { accept: 'application/json', 'sec-fetch-mode': '', origin: '' }

let w: SignInWorld
beforeAll(async () => {
  w = await startSignInWorld()
  await w.application('app', people('ada@example.com'))
})
afterAll(async () => w[Symbol.asyncDispose]())

const live = (email: string) => rowsOf(w.world.edge.store.snapshot).sessions.filter(one => one.person.email === email)
const disable = (user: string) =>
  w.world.edge.administration.call('user.put', { params: { user }, body: { disabled: true } })

/** A form of which the last byte is held back. */
async function holding(browser: Browser, page: Shown, path: string, fields: Record<string, string>) {
  const body = new URLSearchParams({ ...hidden(page), ...fields }).toString()
  const { edge } = w.world
  const host = `edge.localhost:${edge.port}`
  const cookie = [...browser.cookies('edge.localhost')].map(([name, value]) => `${name}=${value}`).join('; ')
  const socket = await dial(edge.port, edge.caFile ?? '', 'edge.localhost')
  const answer = readAnswer(socket, false)
  const head = [
    `POST ${path} HTTP/1.1`,
    `host: ${host}`,
    `origin: https://${host}`,
    'sec-fetch-site: same-origin',
    'sec-fetch-mode: navigate',
    'accept: text/html',
    `cookie: ${cookie}`,
    'content-type: application/x-www-form-urlencoded',
    `content-length: ${body.length}`,
  ]
  socket.write(`${head.join('\r\n')}\r\n\r\n${body.slice(0, -1)}`)
  return async () => {
    socket.write(body.slice(-1))
    return parseAnswer(await answer)
  }
}

async function deviceCode(): Promise<{ device_code: string; user_code: string }> {
  const form = { client_id: 'postern', scope: 'postern' }
  const shown = await w.browser().ask(`${w.team}/oauth/device_authorization`, { form, headers: JSON_FORM })
  return JSON.parse(shown.body)
}

describe('who is put out while a form of theirs is on its way', () => {
  it.each(['stays', 'goes'])('a device, approved by somebody who %s', async what => {
    const email = `device-${what}@example.com`
    await w.user(email)
    const browser = w.browser()
    const begun = await deviceCode()
    const asked = await w.withPassword(browser, `${w.team}/device`, email)
    const page = await browser.submit(asked, { user_code: begun.user_code })
    expect(page.body).toContain('Let this device in?')
    const send = await holding(browser, page, '/device', { answer: 'yes' })
    if (what === 'goes') await disable(email)
    const { status } = await send()
    expect(live(email).map(({ via }) => via)).toEqual(what === 'stays' ? ['browser', 'device'] : [])
    expect(status).toBe(what === 'stays' ? 200 : 401)
    const form = { client_id: 'postern', grant_type: DEVICE_GRANT, device_code: begun.device_code }
    const polled = await w.browser().ask(`${w.team}/oauth/token`, { form, headers: JSON_FORM })
    expect(polled.status).toBe(what === 'stays' ? 200 : 400)
  })

  it.each(['stays', 'goes'])('a program on their own computer, approved by somebody who %s', async what => {
    const email = `program-${what}@example.com`
    await w.user(email)
    const browser = w.browser()
    const query = new URLSearchParams({
      client_id: 'postern',
      response_type: 'code',
      scope: 'postern',
      state: 'a state of the program',
      redirect_uri: 'http://127.0.0.1:51234/callback',
      code_challenge: CHALLENGE,
      code_challenge_method: 'S256',
    })
    const page = await w.withPassword(browser, `${w.team}/oauth/authorize?${query}`, email)
    expect(page.body).toContain('Let the <code>postern</code> command in?')
    const send = await holding(browser, page, page.url.pathname, { answer: 'yes' })
    if (what === 'goes') await disable(email)
    const { status } = await send()
    expect(live(email).map(({ via }) => via)).toEqual(what === 'stays' ? ['browser', 'cli'] : [])
    expect(status).toBe(what === 'stays' ? 200 : 401)
  })
})
