import type { Identity, Json } from '@postern/interface'
import { readSshPublicKey } from '@postern/pki/ssh/public-key'
import { describe, expect, it } from 'vitest'
import { orderFor } from '../src/ssh-certificates/order.ts'

const NOW = 1_800_000_000_000
const KEY = readSshPublicKey(
  'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGkqNIMV/Y0sW9zTtn0GpUc8BpUWr4rIMdQ+wvOEI8nK ann@laptop',
)

const ann: Identity = {
  kind: 'user',
  issuer: 'https://idp.example',
  subject: '7',
  email: 'ann@example.com',
  claims: { unix_name: 'ann-s', team: ['a', 'b'] },
  revokeKeys: [],
}
const machine: Identity = {
  kind: 'service',
  issuer: 'postern:service-token',
  subject: 'pst_1',
  claims: {},
  revokeKeys: [],
}
const order = (permit: Json, ...identities: Identity[]) =>
  orderFor({ identities: identities.length > 0 ? identities : [ann], permit, requestId: 'r1' }, KEY, NOW)
const names = (permit: Json, ...identities: Identity[]) => order(permit, ...identities).principals
const named = (more: Record<string, Json> = {}): Json => ({ ssh: { principals: ['deploy'], ...more } })
const NAMED = named()
const LOCAL = { emailLocalPart: 'example.com' }
const at = (email: string): Identity => ({ ...ann, email })
const claims = (more: Record<string, Json>): Identity => ({ ...ann, claims: { ...ann.claims, ...more } })

describe('the names in a certificate', () => {
  it('are those of the rule, once each', () => {
    expect(names({ ssh: { principals: ['deploy', 'root', 'deploy'] } })).toEqual(['deploy', 'root'])
    expect(names({ ssh: { principals: ['deploy'] } }, machine)).toEqual(['deploy'])
  })

  it('are what a claim says, and that of the address at the domain that the rule says', () => {
    expect(names({ ssh: { principals: ['web', { claim: 'unix_name' }] } })).toEqual(['web', 'ann-s'])
    expect(names({ ssh: { principals: ['web', LOCAL] } })).toEqual(['web', 'ann'])
    expect(names({ ssh: { principals: [LOCAL] } }, { ...ann, email: 'Ann@EXAMPLE.com' })).toEqual(['ann'])
  })

  it.each([null, {}, { http: true }, { ssh: {} }, { ssh: { seconds: 60 } }] as Json[])(
    'are never guessed: where the rule permits %j, it says what to add to it',
    permit => {
      expect(() => order(permit)).toThrow(
        expect.objectContaining({
          code: 'ACCESS_DENIED',
          next: expect.stringContaining('permit: { "ssh": { "principals": ["NAME"] } }'),
        }),
      )
    },
  )

  it.each<[string, Json, Identity]>([
    ['a claim that is missing', { principals: [{ claim: 'nobody' }] }, ann],
    ['a claim that every object has', { principals: [{ claim: 'constructor' }] }, ann],
    ['a list', { principals: [{ claim: 'team' }] }, ann],
    ['root by a claim', { principals: [{ claim: 'unix_name' }] }, claims({ unix_name: 'root' })],
    ['two in one', { principals: [{ claim: 'unix_name' }] }, claims({ unix_name: 'ann,root' })],
    ['a line end', { principals: [{ claim: 'unix_name' }] }, claims({ unix_name: 'ann\nroot' })],
    ['a NUL', { principals: [{ claim: 'unix_name' }] }, claims({ unix_name: 'root\0' })],
    ['an option', { principals: [{ claim: 'unix_name' }] }, claims({ unix_name: '-l' })],
    ['a number', { principals: [{ claim: 'unix_name' }] }, claims({ unix_name: 0 })],
    ['an empty one', { principals: [{ claim: 'unix_name' }] }, claims({ unix_name: '' })],
    ['a look-alike', { principals: [{ claim: 'unix_name' }] }, claims({ unix_name: 'аnn' })],
    ['no address', { principals: [LOCAL] }, machine],
    ['an address of a machine', { principals: [LOCAL] }, { ...machine, email: 'ann@example.com' }],
    ['an address that is not vouched for', { principals: [LOCAL] }, claims({ email_verified: false })],
    ['an address elsewhere', { principals: [LOCAL] }, at('deploy@elsewhere.org')],
    ['an address below the domain', { principals: [LOCAL] }, at('ann@evil.example.com')],
    ['an address at a domain that ends so', { principals: [LOCAL] }, at('ann@evilexample.com')],
    ['an address at a domain that begins so', { principals: [LOCAL] }, at('ann@example.com.evil.org')],
    ['an address at a look-alike', { principals: [LOCAL] }, at('ann@exаmple.com')],
    ['an address with a dot behind', { principals: [LOCAL] }, at('ann@example.com.')],
    ['root by an address', { principals: [LOCAL] }, at('root@example.com')],
    ['Root by an address', { principals: [LOCAL] }, at('ROOT@example.com')],
    ['an address with a plus', { principals: [LOCAL] }, at('ann+root@example.com')],
    ['an address whose name is a number', { principals: [LOCAL] }, at('0@example.com')],
    ['an address with two @', { principals: [LOCAL] }, at('root@x@example.com')],
    ['one name that is given, and one that is not', { principals: ['deploy', LOCAL] }, at('ann@elsewhere.org')],
    ['a permit that is none', { principals: 'root' }, ann],
    ['a permit of a newer Postern', { sudo: true }, ann],
  ])('row 89: nobody has one by %s', (_what, ssh, who) => {
    expect(() => order({ ssh }, who)).toThrow(expect.objectContaining({ code: 'ACCESS_DENIED' }))
    expect(names({ ssh: { principals: ['deploy'] } }, who)).toEqual(['deploy'])
  })

  it('a certificate that comes along adds none; of two who speak nobody can say whose they are', () => {
    const claim = { ssh: { principals: [{ claim: 'unix_name' }] } }
    const liar: Identity = { ...machine, claims: { unix_name: 'deploy' } }
    const device: Identity = { ...liar, kind: 'certificate', issuer: 'postern:mtls' }
    expect(names(claim, ann, device)).toEqual(['ann-s'])
    expect(names(claim, device, ann)).toEqual(['ann-s'])
    expect(names(claim, liar)).toEqual(['deploy'])
    const other = { ...ann, subject: '8', claims: { unix_name: 'bob' } }
    for (const both of [
      [ann, other],
      [{ ...ann, claims: {} }, other],
      [machine, liar],
      // Which of them the rule let in, the rule does not say.
      [ann, liar],
      [machine, ann],
    ])
      expect(() => order(claim, ...both)).toThrow(expect.objectContaining({ code: 'ACCESS_DENIED' }))
  })
})

describe('the rest of it', () => {
  it('is short, and ends with the first thing that does', () => {
    const times = (permit: Json, ...identities: Identity[]) => {
      const { validAfter, validBefore } = order(permit, ...identities)
      return [validAfter - NOW / 1000, validBefore - NOW / 1000]
    }
    expect(times(NAMED)).toEqual([-60, 300])
    expect(times(named({ seconds: 86_400 }))).toEqual([-60, 86_400])
    const [soon, later] = [
      { ...ann, expiresAt: NOW + 90_999 },
      { ...machine, expiresAt: NOW + 200_000 },
    ]
    expect(times(named({ seconds: 86_400 }), soon, later)).toEqual([-60, 90])
    expect(() => order(NAMED, { ...ann, expiresAt: NOW + 999 })).toThrow(
      expect.objectContaining({ code: 'LOGIN_REQUIRED' }),
    )
  })

  it('says who it was in words that fit a log', () => {
    expect(order(NAMED).keyId).toBe('ann@example.com:r1')
    const odd = { ...machine, subject: 'x y\n(serial 0) CA "mine"' }
    expect(order({ ssh: { principals: ['deploy'] } }, odd).keyId).toBe(
      'postern_service-token/x_y__serial_0__CA__mine_:r1',
    )
  })

  it('permits what the rule lists, else what a key without options does', () => {
    expect(order(NAMED).extensions).toContain('permit-pty')
    expect(order(named({ extensions: [] })).extensions).toEqual([])
    expect(order(NAMED).criticalOptions).toBeUndefined()
    expect(order(named({ forceCommand: 'backup' })).criticalOptions).toEqual({ 'force-command': 'backup' })
  })
})
