import fc from 'fast-check'
import { expect, test } from 'vitest'
import { base32, createTicket } from '../src/ticket.ts'

test('a ticket has all of its 128 bits: no two of different bytes are the same', () => {
  expect(base32(new Uint8Array(16))).toBe('a'.repeat(26))
  expect(base32(Buffer.from('foobar'))).toBe('mzxw6ytboi') // RFC 4648 §10
  const sixteen = fc.uint8Array({ minLength: 16, maxLength: 16 })
  fc.assert(
    fc.property(sixteen, sixteen, (one, other) => {
      expect(base32(one)).toMatch(/^[a-z2-7]{26}$/)
      expect(base32(one) === base32(other)).toBe(Buffer.from(one).equals(other))
    }),
  )
  const all = new Set(Array.from({ length: 1000 }, createTicket))
  expect(all.size).toBe(1000)
  for (const one of all) expect(one).toMatch(/^[a-z2-7]{25}[aeimquy4]$/)
})
