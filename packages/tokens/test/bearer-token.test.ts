import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  createAdminToken,
  createConnectorSetup,
  createInvitation,
  createSetupToken,
  readAdminToken,
  readConnectorSetup,
  readInvitation,
  readSetupToken,
  verifySecret,
} from '../src/index.ts'

describe.each([
  ['admin', createAdminToken, readAdminToken, readSetupToken, /^pat_[0-9a-f]{24}$/],
  ['setup', createSetupToken, readSetupToken, readAdminToken, /^pset_[0-9a-f]{24}$/],
  ['daemon’s setup token', createConnectorSetup, readConnectorSetup, readSetupToken, /^pcon_[0-9a-f]{24}$/],
  ['invitation', createInvitation, readInvitation, readSetupToken, /^pinv_[0-9a-f]{24}$/],
] as const)('%s tokens', (_kind, create, read, readOther, form) => {
  test('carry their id and a secret that fits the hash', () => {
    const { id, token, hash } = create()
    expect(id).toMatch(form)
    expect(token).toMatch(/^[\x21-\x7e]{1,80}$/)
    const parts = read(token)
    expect(parts?.id).toBe(id)
    expect(verifySecret(parts?.secret ?? '', hash)).toBe(true)
    expect(hash).not.toContain(parts?.secret)
    expect(readOther(token)).toBeUndefined()
  })

  test('are all different', () => {
    const made = Array.from({ length: 100 }, create)
    expect(new Set(made.map(({ id }) => id)).size).toBe(100)
    expect(new Set(made.map(({ token }) => token)).size).toBe(100)
  })

  test('are read in one spelling', () => {
    const { token } = create()
    const cut = token.length - 1
    for (const odd of [
      token.slice(0, cut),
      `${token}A`,
      ` ${token}`,
      `${token}\n`,
      token.toUpperCase(),
      '',
      token + token,
    ])
      expect(read(odd)).toBeUndefined()
    expect(read(token.replace('_', '-'))).toBeUndefined()
    expect(read(`${token.slice(0, cut)}=`)).toBeUndefined()
  })

  test('are never read from anything else', () => {
    fc.assert(fc.property(fc.string({ maxLength: 100 }), odd => read(odd) === undefined))
  })
})
