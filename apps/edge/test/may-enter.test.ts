import type { Identity } from '@postern/interface'
import { type Facts, preparePolicy, type Rule } from '@postern/policy'
import { expect, test } from 'vitest'
import { mayEnter } from '../src/authorize/may-enter.ts'

const ann: Identity = {
  kind: 'user',
  issuer: 'https://idp.example',
  subject: 'ann',
  email: 'ann@example.com',
  claims: {},
  revokeKeys: [],
}
const rule = (one: Partial<Rule>): Rule => ({ name: 'r', action: 'allow', include: [], ...one })
const may = (rules: readonly Rule[], more: Partial<Facts> = {}) =>
  mayEnter({ identities: [ann], now: 1, address: '10.0.0.1', ...more }, preparePolicy(rules)).allow

const email = { email: 'ann@example.com' }
const certificate = { certificate: { ca: 'staff' } }

test('a certificate that is required besides is left to each request', () => {
  expect(may([rule({ include: [email], require: [certificate] })])).toBe(true)
  expect(may([rule({ include: [email], require: [certificate] })], { request: { method: 'GET', path: '/' } })).toBe(
    true,
  )
  expect(may([rule({ include: [email], require: [certificate, { address: ['192.0.2.0/24'] }] })])).toBe(false)
  expect(may([rule({ include: [{ email: 'bob@example.com' }], require: [certificate] })])).toBe(false)
})

test('who would be let in by a certificate alone has no use for a sign-in', () => {
  expect(may([rule({ include: [certificate] })])).toBe(false)
  expect(may([rule({ include: [certificate, email] })])).toBe(true)
  expect(may([rule({ action: 'service', include: [certificate] })])).toBe(false)
})

test('a rule that denies certificates denies none that nobody has seen, and everybody else as before', () => {
  const allow = rule({ include: [email] })
  expect(may([allow, rule({ name: 'd', action: 'deny', include: [certificate] })])).toBe(true)
  expect(may([allow, rule({ name: 'd', action: 'deny', include: [email], exclude: [certificate] })])).toBe(true)
  expect(may([allow, rule({ name: 'd', action: 'deny', include: [email] })])).toBe(false)
  expect(may([allow, rule({ name: 'd', action: 'deny', include: [{ group: 'guests' }] })])).toBe(false)
})

test('what cannot be decided of the person lets nobody in, and path and method are left to each request', () => {
  expect(may([rule({ include: [{ group: 'staff' }], require: [certificate] })])).toBe(false)
  expect(may([rule({ include: [email], require: [{ path: ['/api'] }] })])).toBe(true)
  expect(
    may([rule({ include: [email], require: [{ path: ['/api'] }] })], { request: { method: 'GET', path: '/' } }),
  ).toBe(false)
})
