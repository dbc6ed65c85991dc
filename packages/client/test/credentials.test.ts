import { type AuthProvider, type Call, type Credential, PosternError } from '@postern/interface'
import { describe, expect, it } from 'vitest'
import { askEach, authenticate, headersOf, merge } from '../src/credentials.ts'

const call: Call = { signal: AbortSignal.timeout(5_000), log: { debug() {}, info() {}, warn() {}, error() {} } }
const target = { method: 'GET', url: new URL('https://a.example/') }
const gives = (credential: Credential): AuthProvider => ({ authenticate: async () => credential })
const wanted = { purpose: 'admin', teamDomain: 'edge.example' } as const
const tls = { cert: 'c', key: 'k' }

describe('credentials', () => {
  it('of one provider are what it gave', async () => {
    const credential = { headers: { a: '1' } }
    expect(await authenticate([gives(credential)], wanted, call)).toBe(credential)
  })

  it('of several merge: fixed headers, signed ones, a certificate, the earliest expiry', async () => {
    const one = await authenticate(
      [
        gives({ headers: { a: '1' }, expiresAt: 9 }),
        gives({ headers: async ({ method }) => ({ b: method }), expiresAt: 5 }),
        gives({ tls }),
      ],
      wanted,
      call,
    )
    expect(await headersOf(one, target, call)).toEqual({ a: '1', b: 'GET' })
    expect([one.tls, one.expiresAt]).toEqual([tls, 5])
  })

  it('of several: who has no answer to a refusal keeps its part, as long as another one answers', async () => {
    const silent = (credential: Credential): AuthProvider => ({
      authenticate: async ({ refused }) => {
        if (refused) throw new PosternError('AUTH_REJECTED', 'there is no other')
        return credential
      },
    })
    const fresh: AuthProvider = { authenticate: async ({ refused }) => ({ headers: { a: refused ? '2' : '1' } }) }
    const refused = { status: 401, headers: {}, credential: {} }
    const ask = (...providers: AuthProvider[]) => askEach(providers, () => ({ ...wanted, refused }), call)
    const certificate = silent({ tls })
    expect(await ask(certificate, fresh)).toEqual([{ tls }, { headers: { a: '2' } }])
    expect(await ask(fresh, certificate)).toEqual([{ headers: { a: '2' } }, { tls }])
    for (const nobody of [ask(certificate), ask(certificate, silent({}))])
      await expect(nobody).rejects.toMatchObject({ code: 'AUTH_REJECTED', message: 'there is no other' })
    const failing: AuthProvider = { authenticate: () => Promise.reject(new PosternError('LOGIN_REQUIRED', 'nobody')) }
    await expect(ask(certificate, failing)).rejects.toMatchObject({ code: 'LOGIN_REQUIRED' })
  })

  it('conflict when two set one header, in whatever case', async () => {
    const one = merge([{ headers: { 'X-Key': '1' } }, { headers: { 'x-key': '2' } }])
    await expect(headersOf(one, target, call)).rejects.toMatchObject({ code: 'OPTION_CONFLICT' })
  })

  it('conflict when two bring a certificate', () => {
    expect(() => merge([{ tls }, { tls }])).toThrow(expect.objectContaining({ code: 'OPTION_CONFLICT' }))
  })
})
