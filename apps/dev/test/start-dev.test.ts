import { existsSync, readFileSync } from 'node:fs'
import { type RequestOptions, request } from 'node:https'
import { leftOpen, resources } from '@postern/testkit'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Dev, startDev } from '../src/dev.ts'
import { pageOf } from '../src/page.ts'
import { startSampleWeb } from '../src/web.ts'

const quiet = { debug() {}, info() {}, warn() {}, error() {} }
const call = () => ({ signal: AbortSignal.timeout(60_000), log: quiet })

describe('startDev()', { timeout: 60_000 }, () => {
  let dev: Dev
  beforeAll(async () => {
    dev = await startDev({}, call())
  })
  afterAll(() => dev?.[Symbol.asyncDispose]())

  /** By name at this machine, without following where it leads. */
  function get(url: string, headers: RequestOptions['headers'] = {}) {
    const { host, hostname, pathname } = new URL(url)
    const place = { host: '127.0.0.1', port: dev.port, servername: hostname, path: pathname, agent: false }
    return new Promise<{ status: number; text: string }>((resolve, reject) => {
      const ca = readFileSync(dev.caFile)
      request({ ...place, ca, headers: { host, ...headers } }, answer => {
        let text = ''
        answer.setEncoding('utf8').on('data', chunk => (text += chunk))
        answer.on('error', reject).on('end', () => resolve({ status: answer.statusCode ?? 0, text }))
      })
        .on('error', reject)
        .end()
    })
  }

  const token = () => ({
    'postern-client-id': dev.serviceToken.id,
    'postern-client-secret': readFileSync(dev.serviceToken.secretFile, 'utf8').trim(),
  })

  it('has a person with the password it says, and with no other', async () => {
    const { email, name, password } = dev.person
    const asking = { remoteAddress: '127.0.0.1', signal: AbortSignal.timeout(20_000) }
    const person = await dev.edge.directory.verify({ email, password }, asking)
    expect(person).toMatchObject({ email, name, groups: ['staff'] })
    expect(await dev.edge.directory.verify({ email, password: `${password}0` }, asking)).toBeUndefined()
  })

  it('lets the service token open both pages, and not the vault; strangers nothing', async () => {
    const { app, wiki, vault } = dev.urls
    for (const url of [app, wiki])
      expect(await get(url, token())).toEqual({ status: 200, text: expect.stringContaining(dev.serviceToken.id) })
    expect((await get(vault, token())).status).toBe(403)
    for (const url of [app, wiki, vault]) expect((await get(url)).status).toBe(401)
  })

  it('shows browsers a page that leads to the others', async () => {
    const { status, text } = await get(dev.urls.app, { ...token(), accept: 'text/html' })
    expect([status, text]).toEqual([200, expect.stringContaining(`<h1>Hello ${dev.serviceToken.id}</h1>`)])
    expect(text).toContain(`href="${dev.urls.vault}"`)
  })

  it('is one whole: another one beside it starts, ends, and leaves nothing open', async () => {
    const before = resources()
    const other = await startDev({}, call())
    expect(other.port).not.toBe(dev.port)
    await other[Symbol.asyncDispose]()
    expect(existsSync(other.folder)).toBe(false)
    expect(await leftOpen(before)).toEqual([])
  })

  it('the pages themselves answer nobody whom the edge has not sent', async () => {
    const to = {
      edge: new URL(`https://edge.localhost:${dev.port}`),
      trust: { ca: [readFileSync(dev.caFile, 'utf8')] },
    }
    await using web = await startSampleWeb(to)
    const answers = [{}, { 'postern-identity': 'ey.ey.ey' }].map(headers =>
      fetch(`http://127.0.0.1:${web.port}/`, { headers }),
    )
    for (const answer of await Promise.all(answers))
      expect([answer.status, await answer.text()]).toEqual([401, 'Come through the edge.\n'])
  })
})

it('a page shows a strange name as it is, and runs no script but its own', () => {
  const who = { kind: 'user', issuer: 'https://idp.example.com', subject: '7', email: '<b>"&x', expiresAt: 0 } as const
  const { headers, body } = pageOf({ title: 'Sample', hostname: 'app.localhost', port: '', who })
  expect(body).toContain('<h1>Hello &#60;b&#62;&#34;&#38;x</h1>')
  const [, nonce] = /script-src 'nonce-([^']+)'/.exec(String(headers['content-security-policy'])) ?? []
  expect(body.match(/<script[^>]*>/g)).toEqual([`<script nonce="${nonce}">`])
})
