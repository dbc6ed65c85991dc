import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type DevSite, startDev, type Visitor } from '../src/index.ts'

/** An application with a door of each kind. */
async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { method, url = '', headers } = request
  const body = await text(request)
  const to = (status: number, location: string, more: object = {}) =>
    response.writeHead(status, { location, ...more }).end('elsewhere')
  if (url === '/basket') to(303, '/shown', { 'set-cookie': ['basket=tea; Path=/', 'old=; Max-Age=0'] })
  else if (url === '/moved') to(302, '/shown')
  else if (url === '/again') to(307, '/shown')
  else if (url === '/round') to(302, '/round')
  else if (url === '/other') to(302, `https://other.localhost:${headers.host?.split(':')[1]}/shown`)
  else if (url === '/none') response.writeHead(204).end()
  else {
    const cookie = (headers.cookie ?? '').replace(/__Host-[^;]*(; )?/g, '')
    response.setHeader('set-cookie', ['one=1', 'two=2'])
    response.end(JSON.stringify({ method, url, cookie, body, mine: headers['x-mine'] ?? null }))
  }
}

describe('a visitor without a browser', { timeout: 60_000 }, () => {
  let dev: DevSite
  let server: Server
  let ann: Visitor
  let url: string
  beforeAll(async () => {
    server = createServer((request, response) => void serve(request, response))
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    dev = await startDev({ samples: false })
    const at = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    url = (await dev.expose('app.localhost', at)).url
    await dev.expose('other.localhost', at)
    ann = await dev.signIn()
  }, 60_000)
  afterAll(async () => {
    await dev?.[Symbol.asyncDispose]()
    server?.close()
  })

  const shown = async (answer: Response) => (await answer.json()) as Record<string, unknown>

  it('enters the application with the first request, which arrives as it was sent', async () => {
    const answer = await ann.fetch(`${url}orders?a=b`, { method: 'PUT', body: 'tea', headers: { 'x-mine': 'yes' } })
    expect(await shown(answer)).toEqual({ method: 'PUT', url: '/orders?a=b', cookie: '', body: 'tea', mine: 'yes' })
    expect([answer.url, answer.headers.getSetCookie()]).toEqual([`${url}orders?a=b`, ['one=1', 'two=2']])
  })

  it('keeps the application’s cookies, for that application', async () => {
    expect(await shown(await ann.fetch(`${url}basket`, { method: 'POST', body: 'x' }))).toMatchObject({
      ...{ method: 'GET', url: '/shown', body: '' },
      cookie: expect.stringContaining('basket=tea'),
    })
    const elsewhere = await ann.fetch(url.replace('app.', 'other.'))
    expect((await shown(elsewhere)).cookie).not.toContain('basket')
  })

  it('follows redirects as fetch does: 307 with the body, others without; none where it shall not; not for ever', async () => {
    const sent = { method: 'POST', body: 'tea' }
    expect(await shown(await ann.fetch(`${url}again`, sent))).toMatchObject({ method: 'POST', body: 'tea' })
    expect(await shown(await ann.fetch(`${url}moved`, sent))).toMatchObject({ method: 'GET', body: '' })
    expect((await ann.fetch(`${url}moved`, { redirect: 'manual' })).status).toBe(302)
    await expect(ann.fetch(`${url}moved`, { redirect: 'error' })).rejects.toThrow(TypeError)
    await expect(ann.fetch(`${url}round`)).rejects.toThrow(/on and on/)
  })

  it('takes headers of its own nowhere else, and enters where it is led', async () => {
    const headers = { 'x-mine': 'yes' }
    const fresh = await dev.signIn()
    expect(await shown(await fresh.fetch(`${url}other`))).toMatchObject({ url: '/shown' })
    expect((await shown(await ann.fetch(`${url}moved`, { headers }))).mine).toBe('yes')
    expect((await shown(await ann.fetch(`${url}other`, { headers }))).mine).toBeNull()
  })

  it('takes answers without a body, and an abort', async () => {
    expect((await ann.fetch(`${url}none`)).status).toBe(204)
    expect(await (await ann.fetch(url, { method: 'HEAD' })).text()).toBe('')
    await expect(ann.fetch(url, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough')
  })

  it('is nobody without the password', async () => {
    await expect(dev.signIn({ ...dev.person, password: 'guess' })).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
  })
})
