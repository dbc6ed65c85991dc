import { once } from 'node:events'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { authority } from '@postern/testkit'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { edgeFetch } from '../src/edge-fetch.ts'

const APP = 'app.postern.test'
const TEAM = 'team.postern.test'
const asked: string[] = []
let ca = ''
let answer: { status: number; headers: Record<string, string>; body: string }
const { cert, key } = await (async () => {
  const one = await authority()
  ca = one.ca
  return one.issue({ commonName: APP, dnsNames: [APP, TEAM] })
})()
const server = createServer({ cert, key }, (request, response) => {
  asked.push(`${request.method} https://${request.headers.host}${request.url}`)
  request.resume()
  response.writeHead(answer.status, answer.headers).end(answer.body)
})
beforeAll(() => once(server.listen(0, '127.0.0.1'), 'listening'))
afterAll(() => void server.close())

const init = () => ({ signal: AbortSignal.timeout(10_000) })
const at = (trusted = true) => {
  const { port } = server.address() as AddressInfo
  asked.length = 0
  answer = { status: 200, headers: {}, body: '{}' }
  return edgeFetch({ hostname: APP, edge: new URL(`https://127.0.0.1:${port}`), trust: { ca: trusted ? [ca] : [] } })
}

describe('what plugins fetch', () => {
  it('of the application comes from where the edge listens, as the application', async () => {
    const fetching = at()
    answer = { status: 201, headers: { 'x-a': 'b' }, body: 'text' }
    const got = await fetching(new URL(`https://${APP}:8443/path?query`), { ...init(), method: 'POST', body: 'sent' })
    expect([got.status, got.headers.get('x-a'), await got.text()]).toEqual([201, 'b', 'text'])
    expect(asked).toEqual([`POST https://${APP}:8443/path?query`])
  })

  it('of the authorization server that the application names, too; of one that it does not name, not', async () => {
    const fetching = at()
    await expect(fetching(new URL(`https://${TEAM}/x`), init())).rejects.toMatchObject({ code: 'EDGE_UNREACHABLE' })
    answer.body = JSON.stringify({ authorization_servers: [`https://${TEAM}`] })
    await fetching(new URL(`https://${APP}/.well-known/oauth-protected-resource`), init())
    expect((await fetching(new URL(`https://${TEAM}/x`), init())).status).toBe(200)
    expect(asked.at(-1)).toBe(`GET https://${TEAM}/x`)
  })

  it('is by https alone, and of who proves to be it', async () => {
    await expect(at()(new URL(`http://${APP}/`), init())).rejects.toMatchObject({ code: 'EDGE_PROTOCOL' })
    await expect(at(false)(new URL(`https://${APP}/`), init())).rejects.toMatchObject({ code: 'EDGE_UNTRUSTED' })
    expect(asked).toEqual([])
  })

  it('follows no redirect, has a limit, and ends with its signal', async () => {
    const fetching = at()
    answer = { status: 302, headers: { location: `https://${TEAM}/` }, body: '' }
    expect((await fetching(new URL(`https://${APP}/`), init())).status).toBe(302)
    expect(asked).toHaveLength(1)
    answer = { status: 200, headers: {}, body: 'x'.repeat(1024 * 1024 + 1) }
    await expect(fetching(new URL(`https://${APP}/`), init())).rejects.toMatchObject({ code: 'EDGE_PROTOCOL' })
    const gone = { signal: AbortSignal.abort(new Error('gone')) }
    await expect(fetching(new URL(`https://${APP}/`), gone)).rejects.toThrow('gone')
  })
})
