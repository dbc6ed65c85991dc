import type { AuthProvider, Call, Credential } from '@postern/interface'
import { describe, expect, it } from 'vitest'
import { authenticate, headersOf, merge } from '../src/credentials.ts'

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

  it('conflict when two set one header, in whatever case', async () => {
    const one = merge([{ headers: { 'X-Key': '1' } }, { headers: { 'x-key': '2' } }])
    await expect(headersOf(one, target, call)).rejects.toMatchObject({ code: 'OPTION_CONFLICT' })
  })

  it('conflict when two bring a certificate', () => {
    expect(() => merge([{ tls }, { tls }])).toThrow(expect.objectContaining({ code: 'OPTION_CONFLICT' }))
  })
})
