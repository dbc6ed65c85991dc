import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { lookup } from '@postern/client'
import { type DevSite, startDev } from '@postern/dev'
import { Agent, fetch as undiciFetch } from 'undici'
import { asMachine, Refused } from '../src/machine.ts'

describe('fetch with a service token', { timeout: 60_000 }, () => {
  let dev: DevSite
  let server: Server
  let agent: Agent
  let elsewhere: Server
  /** What arrived at the application: path, and whose the edge says it is. */
  const arrived: string[] = []
  /** What arrived where the application redirects to. */
  const leaked: unknown[] = []
  let url: string
  /** undici's, which can be told about the CA of the dev edge and that `*.localhost` is this machine. An edge with a certificate of a public CA needs neither. */
  let fetch: typeof globalThis.fetch

  before(async () => {
    elsewhere = createServer((request, response) => {
      leaked.push(request.headers)
      response.end()
    })
    await new Promise<void>(resolve => elsewhere.listen(0, '127.0.0.1', resolve))
    server = createServer((request, response) => {
      arrived.push(`${request.method} ${request.url}`)
      if (request.url === '/away')
        response.writeHead(302, { location: `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}/` }).end()
      else if (request.url === '/own-403') response.writeHead(403, { 'content-type': 'text/plain' }).end('not this one')
      else {
        response.writeHead(200, { 'content-type': 'application/json' })
        response.end(JSON.stringify({ secret: request.headers['postern-client-secret'] ?? null }))
      }
    })
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    dev = await startDev({ samples: false })
    url = (await dev.expose('api.localhost', `http://127.0.0.1:${(server.address() as AddressInfo).port}`)).url
    agent = new Agent({ connect: { ca: dev.ca, lookup } })
    fetch = ((input: string, init: RequestInit) =>
      undiciFetch(input, { ...(init as object), dispatcher: agent })) as typeof globalThis.fetch
  })
  after(async () => {
    await agent?.close()
    await dev?.[Symbol.asyncDispose]()
    for (const one of [server, elsewhere]) one.close()
  })

  test('opens the application, which never sees the secret', async () => {
    const answer = await asMachine(dev.serviceToken, fetch)(`${url}reports?year=2026`, { method: 'POST', body: 'x' })
    assert.deepEqual([answer.status, await answer.json()], [200, { secret: null }])
    assert.equal(arrived.at(-1), 'POST /reports?year=2026')
  })

  test('without the token the edge says no, and nothing arrives', async () => {
    const before = arrived.length
    const answer = await fetch(url)
    assert.equal(answer.status, 401)
    assert.match(answer.headers.get('www-authenticate') ?? '', /Bearer/)
    await answer.body?.cancel()
    const guess = asMachine({ ...dev.serviceToken, secret: 'guessed' }, fetch)
    await assert.rejects(guess(url), (error: unknown) => error instanceof Refused && error.code === 'AUTH_REJECTED')
    assert.equal(arrived.length, before)
  })

  test('the application’s own refusals are its own', async () => {
    const answer = await asMachine(dev.serviceToken, fetch)(`${url}own-403`)
    assert.deepEqual([answer.status, await answer.text()], [403, 'not this one'])
  })

  test('a redirect is not followed, so that the secret goes nowhere else', async () => {
    const answer = await asMachine(dev.serviceToken, fetch)(`${url}away`)
    assert.deepEqual([answer.status, leaked], [302, []])
    await answer.body?.cancel()
  })

  test('startDev brings a fetch of its own, for tests that want no dispatcher', async () => {
    const answer = await asMachine(dev.serviceToken, dev.fetch)(url)
    assert.equal(answer.status, 200)
    await answer.body?.cancel()
  })
})
