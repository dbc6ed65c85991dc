import ssh2 from 'ssh2'
import { expect, it } from 'vitest'
import { isWhole } from '../src/ssh-keys.ts'

it('sees the keys that OpenSSH cannot read, and only those', () => {
  const pair = ssh2.utils.generateKeyPairSync('ed25519', { comment: 'x' })
  const blob = Buffer.from(pair.public.split(' ')[1] ?? '', 'base64')
  const short = Buffer.concat([blob.subarray(0, 18), Buffer.from([31]), blob.subarray(20)]) // as if it began with a zero
  expect(isWhole({ ...pair, public: `ssh-ed25519 ${short.toString('base64')}` })).toBe(false)
  const found = Array.from({ length: 50 }, () => ssh2.utils.generateKeyPairSync('ed25519', { comment: 'x' })).filter(
    isWhole,
  )
  expect(found.length).toBeGreaterThan(25)
})
