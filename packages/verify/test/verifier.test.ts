// Numbers are rows of the catalogue in docs/security.md.
import { createServer, request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { PosternError } from '@postern/interface'
import { KeyRing } from '@postern/tokens'
import { describe, expect, test } from 'vitest'
import { createVerifier, IDENTITY_HEADER, type PresentedToken, type VerifierOptions } from '../src/index.ts'
import { ANN, APP, identityToken, TEAM } from './endpoint.ts'

const ring = KeyRing.create()
const verifier = createVerifier({ teamDomain: TEAM, audience: APP, keys: ring.jwks() })
const refused = (presented: unknown, code = 'AUTH_REJECTED') =>
  expect(verifier.verify(presented as PresentedToken)).rejects.toMatchObject({ code })

describe('who it is', () => {
  test('from a header’s value, a fetch request, and headers as node has them', async () => {
    const token = await identityToken(ring)
    const presented: PresentedToken[] = [
      token,
      new Request(`https://${APP}/`, { headers: { 'Postern-Identity': token } }),
      { headers: { [IDENTITY_HEADER]: token } },
      { headers: new Headers([[IDENTITY_HEADER, token]]) },
    ]
    for (const one of presented) {
      const { expiresAt, ...who } = await verifier.verify(one)
      expect(who).toEqual(ANN)
      expect(expiresAt).toBeGreaterThan(Date.now())
    }
  })

  test('from requests of node:http; a header sent twice is refused', async () => {
    const server = createServer((request, response) => {
      verifier.verify(request).then(
        who => response.end(who.email),
        (error: unknown) => response.writeHead(401).end(PosternError.is(error) ? error.code : 'other'),
      )
    })
    await new Promise<void>(done => server.listen(0, '127.0.0.1', done))
    const { port } = server.address() as AddressInfo
    const ask = (headers: Record<string, string | string[]>) =>
      new Promise<string>((done, failed) => {
        const sent = httpRequest({ port, host: '127.0.0.1', headers, agent: false }, async response => {
          done(Buffer.concat(await response.toArray()).toString())
        })
        sent.on('error', failed).end()
      })
    const token = await identityToken(ring)
    expect(await ask({ 'POSTERN-IDENTITY': token })).toBe('ann@example.com')
    expect(await ask({})).toBe('LOGIN_REQUIRED')
    expect(await ask({ 'postern-identity': [token, token] })).toBe('AUTH_REJECTED')
    expect(await ask({ postern_identity: token })).toBe('LOGIN_REQUIRED')
    await new Promise(done => server.close(done))
  })

  test('a service has no email and no groups', async () => {
    const identity = { sub: 'pst_1', idp: `https://${TEAM}`, kind: 'service' }
    const who = await verifier.verify(await identityToken(ring, { identity }))
    expect(who).toMatchObject({ kind: 'service', subject: 'pst_1' })
    expect(Object.keys(who).sort()).toEqual(['expiresAt', 'issuer', 'kind', 'subject'])
  })

  test('nothing at all is LOGIN_REQUIRED', async () => {
    for (const nothing of [
      undefined,
      null,
      '',
      { headers: {} },
      { headers: new Headers() },
      new Request(`https://${APP}/`),
      {},
    ])
      await refused(nothing, 'LOGIN_REQUIRED')
  })

  test('a list, or what is no token, is refused', async () => {
    const token = await identityToken(ring)
    for (const odd of [
      `Bearer ${token}`,
      `${token}, ${token}`,
      { headers: { [IDENTITY_HEADER]: [token] } },
      ` ${token}`,
      'null',
      7,
      true,
    ])
      await refused(odd)
  })
})

describe('what is refused', () => {
  test('10: the identity for another application, of another team', async () => {
    await refused(await identityToken(ring, { audience: 'other.example.com' }))
    await refused(await identityToken(ring, { issuer: 'https://other.example.com' }))
    const other = createVerifier({ teamDomain: TEAM, audience: 'other.example.com', keys: ring.jwks() })
    await expect(other.verify(await identityToken(ring, { audience: 'other.example.com' }))).resolves.toBeDefined()
  })

  test('11: other tokens of the same edge, signed with the same key', async () => {
    for (const typ of ['at+jwt', 'JWT', 'postern-grant+jwt']) await refused(await identityToken(ring, { typ }))
  })

  test('an old one', async () => {
    const now = Date.now()
    await refused(await identityToken(ring, { now: now - 312_000 }), 'TOKEN_EXPIRED')
    await expect(verifier.verify(await identityToken(ring, { now: now - 305_000 }))).resolves.toBeDefined() // clocks differ
  })

  test('one that does not say who', async () => {
    const good = { sub: '42', idp: 'https://idp.example.com', kind: 'user' }
    await expect(verifier.verify(await identityToken(ring, { identity: good }))).resolves.toBeDefined()
    for (const wrong of [
      { sub: undefined },
      { sub: '' },
      { sub: 42 },
      { idp: undefined },
      { kind: 'root' },
      { kind: 'constructor' },
      { email: ['a@example.com'] },
      { email: '' },
      { groups: 'ops' },
      { groups: [1] },
      { groups: { 0: 'ops' } },
    ])
      await refused(await identityToken(ring, { identity: { ...good, ...wrong } }))
  })

  test('one signed by a stranger', async () => {
    await refused(await identityToken(KeyRing.create()))
  })
})

describe('7: a verifier that could verify nothing is not made', () => {
  const good: VerifierOptions = { teamDomain: TEAM, audience: APP, keys: ring.jwks() }
  test('the allow twin', () => expect(createVerifier(good)).toBeDefined())

  test.each<[string, object]>([
    ['no team domain', { teamDomain: undefined }],
    ['an empty team domain', { teamDomain: '' }],
    ['a URL as the team domain', { teamDomain: `https://${TEAM}` }],
    ['a team domain with a path', { teamDomain: `${TEAM}/` }],
    ['a team domain in upper case', { teamDomain: 'Team.example.com' }],
    ['a team domain with a user', { teamDomain: `me@${TEAM}` }],
    ['no audience', { audience: undefined }],
    ['an empty audience', { audience: '' }],
    ['an audience with a port', { audience: `${APP}:8443` }],
    ['a list of audiences', { audience: [APP] }],
    ['any audience', { audience: '*' + '.example.com/' }],
    ['keys that are missing', { keys: undefined }],
    ['null keys', { keys: null }],
    ['no keys', { keys: { keys: [] } }],
    ['a tolerance above a minute', { clockToleranceSeconds: 61 }],
    ['a tolerance that is no number', { clockToleranceSeconds: Number.NaN }],
  ])('%s', (_name, wrong) => {
    expect(() => createVerifier({ ...good, ...wrong } as VerifierOptions)).toThrow(
      expect.objectContaining({ code: 'OPTION_INVALID' }),
    )
  })

  test('keys come over https, or http on this machine', () => {
    const { keys: _, ...remote } = good
    for (const url of [`https://${TEAM}/keys`, 'http://127.0.0.1:8080/k', 'http://[::1]/k', 'http://localhost/k'])
      expect(createVerifier({ ...remote, jwks: new URL(url) })).toBeDefined()
    for (const url of [
      `http://${TEAM}/keys`,
      'http://127.0.0.1.example.com/',
      'http://10.0.0.1/',
      'http://169.254.169.254/',
      'file:///etc/passwd',
      'data:application/json,{}',
      `https://me:pw@${TEAM}/`,
    ])
      expect(() => createVerifier({ ...remote, jwks: new URL(url) })).toThrow(
        expect.objectContaining({ code: 'OPTION_INVALID' }),
      )
    expect(() => createVerifier({ ...good, jwks: new URL(`https://${TEAM}/keys`) })).toThrow(
      expect.objectContaining({ code: 'OPTION_CONFLICT' }),
    )
  })
})
