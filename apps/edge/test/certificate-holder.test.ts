import type { Identity, Json } from '@postern/interface'
import { describe, expect, test } from 'vitest'
import { holderOf } from '../src/certificates/names.ts'

const TEAM = 'https://edge.example.com'

const ann: Identity = {
  kind: 'user',
  issuer: 'https://idp.example',
  subject: '7',
  email: 'ann@example.com',
  claims: {},
  revokeKeys: [],
}
const claims = (more: Record<string, Json>): Identity => ({ ...ann, claims: more })
const token: Identity = {
  kind: 'service',
  issuer: 'postern:service-token',
  subject: 'pst_1',
  claims: { name: 'ci' },
  revokeKeys: [],
}
const job: Identity = { ...token, issuer: 'https://ci.example', subject: 'repo', claims: { name: 'ann@example.com' } }
const device: Identity = { ...token, kind: 'certificate', issuer: 'postern:mtls', subject: 'team/dns:x', claims: {} }

const said = (...identities: Identity[]) => {
  const { commonName, san } = holderOf(identities, TEAM)
  return { commonName, emails: san.filter(({ type }) => type === 'email').map(({ value }) => value) }
}

describe('row 89: what a certificate says of its holder', () => {
  test('is the address that a provider vouches for, and what an administrator called a token', () => {
    expect(said(ann)).toEqual({ commonName: 'ann@example.com', emails: ['ann@example.com'] })
    expect(said(claims({ email_verified: true }))).toEqual(said(ann))
    expect(said(token)).toEqual({ commonName: 'ci', emails: [] })
  })

  test.each<[string, Identity]>([
    ['the address that a provider says is not verified', claims({ email_verified: false })],
    ['what people call themselves', { ...claims({ name: 'printer' }), email: undefined as never }],
    ['an address as the name that people give themselves', { ...claims({ name: 'bob@example.com' }), email: 'x' }],
    ['what a provider calls a machine', job],
    ['the address that a machine comes with', { ...job, email: 'ann@example.com' }],
    ['what somebody else’s certificate says', { ...device, claims: { name: 'printer' }, email: 'ann@example.com' }],
  ])('is not %s', (_what, who) => {
    expect(said(who)).toEqual({ commonName: undefined, emails: [] })
  })

  test('is about one: of several nobody can say whom the rules let ask', () => {
    const other = { ...ann, issuer: 'https://other.example', email: 'boss@example.com' }
    for (const several of [
      [ann, other],
      [other, ann],
      [ann, token],
      [token, job],
      [device, { ...device, subject: 'team/dns:y' }],
    ])
      expect(() => holderOf(several, TEAM)).toThrow(expect.objectContaining({ code: 'ACCESS_DENIED' }))
    expect(said(ann, device)).toEqual(said(ann))
    expect(said(device, token)).toEqual(said(token))
    expect(() => holderOf([], TEAM)).toThrow(expect.objectContaining({ code: 'LOGIN_REQUIRED' }))
  })
})
