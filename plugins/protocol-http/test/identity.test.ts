// requireIdentity: only requests that the edge vouches for reach the service.
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { fakeOriginHost } from '@postern/compliance'
import type { OriginHost } from '@postern/interface'
import { IDENTITY_TYP, identityClaims, KeyRing } from '@postern/tokens'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { ask, at, HOSTNAME, problemIn, Rig, rule } from './rig.ts'

const ring = KeyRing.create()
const ANN = { kind: 'user', issuer: 'https://idp.example.com', subject: '42', email: 'ann@example.com' } as const
let server: Server
let requests = 0
let fetched: string[] = []
let keys: () => Promise<Response> = async () => Response.json(ring.jwks())
const host: OriginHost = {
  ...fakeOriginHost(),
  fetch: async url => {
    fetched.push(url.href)
    return keys()
  },
}
beforeAll(async () => {
  server = createServer((_request, response) => {
    requests++
    response.end('in')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
})
beforeEach(() => {
  requests = 0
  fetched = []
  keys = async () => Response.json(ring.jwks())
})
afterAll(() => void server.close())

function token(audience = HOSTNAME, team = host.team, by = ring): Promise<string> {
  const expected = { typ: IDENTITY_TYP, issuer: `https://${team}`, audience, lifetimeSeconds: 60 }
  return by.sign(identityClaims(ANN), expected)
}

it('a good identity is let in; keys are fetched once, when they are needed, from the team domain', async () => {
  await using rig = new Rig(rule(at(server), { requireIdentity: true }), host)
  expect(fetched).toEqual([])
  for (let count = 0; count < 3; count++)
    expect((await ask(rig, `GET / HTTP/1.1\r\npostern-identity: ${await token()}`)).text).toContain('in')
  expect(fetched).toEqual([`https://${host.team}/.well-known/jwks.json`])
  expect(requests).toBe(3)
})

it.each<[string, () => Promise<string>]>([
  ['none', async () => ''],
  ['an empty one', async () => 'postern-identity: '],
  ['one for another application', async () => `postern-identity: ${await token('other.example.com')}`],
  ['one of another team', async () => `postern-identity: ${await token(HOSTNAME, 'evil.example.com')}`],
  ['one under another key', async () => `postern-identity: ${await token(HOSTNAME, host.team, KeyRing.create())}`],
  ['a word', async () => 'postern-identity: ann@example.com'],
])('%s is refused with 403, and the service sees nothing', async (_what, header) => {
  await using rig = new Rig(rule(at(server), { requireIdentity: true }), host)
  const said = await header()
  const { text } = await ask(rig, `GET / HTTP/1.1${said ? `\r\n${said}` : ''}`)
  expect(problemIn(text)).toMatchObject({ code: 'ACCESS_DENIED', status: 403, speaker: 'daemon' })
  const upgrade = `GET / HTTP/1.1\r\nUpgrade: websocket\r\n${said ? `${said}\r\n` : ''}Connection: Upgrade`
  expect(problemIn((await ask(rig, upgrade)).text)).toMatchObject({ code: 'ACCESS_DENIED' })
  expect(requests).toBe(0)
})

it('without keys nobody is let in: 503', async () => {
  keys = () => Promise.reject(new Error('the edge is away'))
  await using rig = new Rig(rule(at(server), { requireIdentity: true }), host)
  const { text } = await ask(rig, `GET / HTTP/1.1\r\npostern-identity: ${await token()}`)
  expect(problemIn(text)).toMatchObject({ code: 'EDGE_UNREACHABLE', status: 503 })
  expect(requests).toBe(0)
})

it('a rule without it asks for none', async () => {
  await using rig = new Rig(rule(at(server)), host)
  expect((await ask(rig, 'GET / HTTP/1.1')).text).toContain('in')
})
