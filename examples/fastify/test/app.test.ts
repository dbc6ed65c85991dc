import type { AddressInfo } from 'node:net'
import { type DevSite, type Exposed, startDev } from '@postern/dev'
import { createVerifier } from '@postern/verify'
import type { FastifyInstance } from 'fastify'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildApp } from '../src/app.ts'

const HOST = 'shop.localhost'

describe('the shop, behind a sign-in', { timeout: 30_000 }, () => {
  let dev: DevSite
  let app: FastifyInstance
  let shop: Exposed
  let requests = 0

  beforeAll(async () => {
    dev = await startDev({ samples: false })
    app = buildApp(createVerifier(dev.verifierOptions(HOST)))
    await app.listen({ host: '127.0.0.1', port: 0 })
    app.server.on('request', () => requests++)
    shop = await dev.expose(HOST, `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`, {
      groups: ['staff', 'buyers'],
    })
  }, 60_000)
  afterAll(async () => {
    await app?.close()
    await dev?.[Symbol.asyncDispose]()
  })

  const order = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"tea":2}' }

  it('knows who signed in', async () => {
    const ann = await dev.signIn()
    const answer = await ann.fetch(`${shop.url}me`)
    expect([answer.status, await answer.json()]).toEqual([
      200,
      { kind: 'user', email: 'ann@example.com', groups: ['staff'] },
    ])
  })

  it('lets buyers order, and nobody else', async () => {
    const bea = await dev.signIn(await dev.addPerson({ email: 'bea@example.com', name: 'Bea', groups: ['buyers'] }))
    const ordered = await bea.fetch(`${shop.url}orders`, order)
    expect(await ordered.json()).toMatchObject({ orderedBy: [expect.stringMatching(/^https:/), expect.any(String)] })
    const ann = await dev.signIn()
    expect((await ann.fetch(`${shop.url}orders`, order)).status).toBe(403)
  })

  it('sees nothing of whoever has not signed in', async () => {
    const before = requests
    const answer = await dev.fetch(`${shop.url}me`)
    expect([answer.status, requests]).toEqual([401, before])
    const browser = await dev.fetch(`${shop.url}me`, { headers: { accept: 'text/html' } })
    expect([new URL(browser.url).pathname, requests]).toEqual(['/login', before])
    expect(await browser.text()).toContain('name="password"')
  })

  it('sees nothing of a person whom the edge does not let in', async () => {
    const before = requests
    const eve = await dev.signIn(await dev.addPerson({ email: 'eve@example.com', name: 'Eve' }))
    expect([(await eve.fetch(`${shop.url}me`)).status, requests]).toEqual([403, before])
  })

  it('answers nobody who goes round the edge, whatever they say of themselves', async () => {
    const direct = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}/me`
    for (const headers of [{}, { 'postern-identity': 'ey.ey.ey' }, { 'x-forwarded-user': 'ann@example.com' }])
      expect((await fetch(direct, { headers })).status).toBe(401)
  })

  it('knows a machine as a machine', async () => {
    const answer = await dev.fetch(`${shop.url}me`, { headers: dev.serviceToken.headers })
    expect(await answer.json()).toEqual({ kind: 'service', email: null, groups: [] })
  })

  it('sees nothing more of somebody whose sessions were ended', async () => {
    const ann = await dev.signIn()
    expect((await ann.fetch(`${shop.url}me`)).status).toBe(200)
    await dev.edge.administration.call('session.revoke', { body: { email: 'ann@example.com' } })
    const before = requests
    expect([(await ann.fetch(`${shop.url}me`)).status, requests]).toEqual([401, before])
  })
})
