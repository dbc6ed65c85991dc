import type { Identity } from '@postern/interface'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { checkRules, decide as decideWith, type Facts, preparePolicy, type Rule } from '../src/index.ts'

const NOW = 1_800_000_000_000
const token = (id: string, more: Partial<Identity> = {}): Identity => ({
  kind: 'service',
  issuer: 'postern:service-token',
  subject: id,
  claims: {},
  revokeKeys: [`service-token:${id}`],
  ...more,
})
const rule = (value: object): Rule => ({ name: 'r', action: 'allow', include: [], ...value })
const decide = (facts: Facts, rules: readonly Rule[]) => decideWith(facts, preparePolicy(rules))
const allows = (rules: readonly Rule[], ...identities: Identity[]) => decide({ identities, now: NOW }, rules).allow

describe('a decision', () => {
  test('is no when there are no rules, or nobody is identified', () => {
    expect(decide({ identities: [token('a')], now: NOW }, [])).toEqual({
      allow: false,
      permit: null,
      signIn: false,
      reasons: ['there are no rules'],
    })
    expect(allows([rule({ include: [{ anyServiceToken: true }] })])).toBe(false)
    expect(allows([rule({ include: [{ anyServiceToken: true }] })], token('a'))).toBe(true)
  })

  test('names the rule, its permit and why', () => {
    const rules = [
      rule({ name: 'others', include: [{ serviceToken: 'b' }] }),
      rule({ name: 'ci', include: [{ serviceToken: 'a' }], permit: { redis: { commands: ['GET'] } } }),
    ]
    expect(decide({ identities: [token('a')], now: NOW }, rules)).toEqual({
      allow: true,
      rule: 'ci',
      action: 'allow',
      signIn: false,
      permit: { redis: { commands: ['GET'] } },
      reasons: [
        'allow rule "others": not included; services are by token or identity only',
        'allow rule "ci": applies',
      ],
    })
    expect(decide({ identities: [token('c')], now: NOW }, rules).reasons.at(-1)).toBe('no rule lets in')
  })

  test('lets a deny rule win over an earlier allow rule', () => {
    const everybody = rule({ include: [{ anyServiceToken: true }] })
    const notA = rule({ name: 'not a', action: 'deny', include: [{ serviceToken: 'a' }] })
    expect(allows([everybody, notA], token('a'))).toBe(false)
    expect(allows([everybody, notA], token('b'))).toBe(true)
  })

  test('sees all identities: a requirement can be met by another one than the include', () => {
    const both = rule({ include: [{ serviceToken: 'a' }], require: [{ serviceToken: 'b' }] })
    expect(allows([both], token('a'), token('b'))).toBe(true)
    expect(allows([both], token('a'))).toBe(false)
    const but = rule({ include: [{ serviceToken: 'a' }], exclude: [{ serviceToken: 'b' }] })
    expect(allows([but], token('a'))).toBe(true)
    expect(allows([but], token('a'), token('b'))).toBe(false)
  })

  test('leaves out what has expired, also when the expiry is no number', () => {
    const rules = [rule({ include: [{ serviceToken: 'a' }] })]
    expect(allows(rules, token('a', { expiresAt: NOW + 1 }))).toBe(true)
    expect(allows(rules, token('a', { expiresAt: NOW }))).toBe(false)
    expect(allows(rules, token('a', { expiresAt: Number.NaN }))).toBe(false)
    expect(allows(rules, token('a', { expiresAt: 'never' as unknown as number }))).toBe(false)
  })

  test('never takes a tunnel token, or somebody else with the same subject, for a service token', () => {
    const rules = [rule({ include: [{ anyServiceToken: true }, { serviceToken: 'a' }] })]
    expect(allows(rules, token('a', { issuer: 'postern:tunnel-token' }))).toBe(false)
    expect(allows(rules, token('a', { kind: 'user' }))).toBe(false)
    expect(allows(rules, token('a'))).toBe(true)
  })

  test('matches an identity by issuer and subject, both exact', () => {
    const rules = [rule({ include: [{ identity: { issuer: 'https://idp', subject: 'ann' } }] })]
    expect(allows(rules, token('ann', { issuer: 'https://idp', kind: 'user' }))).toBe(true)
    expect(allows(rules, token('ann', { issuer: 'https://idp/', kind: 'user' }))).toBe(false)
    expect(allows(rules, token('Ann', { issuer: 'https://idp', kind: 'user' }))).toBe(false)
  })
})

const strange: unknown[] = [
  { moonPhase: 'full' },
  { everyone: 'yes' },
  { email: 'not an address' },
  { claim: { name: 'a' } },
  { claim: { name: 'a', matches: '(?=x)' } },
  { address: ['10.0.0.1/8'] },
  { path: ['api'] },
  { inGroup: 'not there' },
  { anyServiceToken: 'yes' },
  { anyServiceToken: true, country: 'NL' },
  { serviceToken: '' },
  { serviceToken: 1 },
  { identity: { issuer: 'x', subject: 'y', more: 1 } },
  {},
  null,
  'everyone',
  [],
]

describe.each(strange)('a selector that is not known: %j', selector => {
  const me = token('a')
  const mine = { serviceToken: 'a' }

  test.each([
    ['an include of an allow rule', { include: [selector] }],
    ['a require of an allow rule', { include: [mine], require: [selector] }],
    ['an exclude of an allow rule', { include: [mine], exclude: [selector] }],
  ])('helps nobody in as %s', (_, value) => {
    expect(allows([rule(value)], me)).toBe(false)
  })

  test.each([
    ['an include of a deny rule', { include: [selector] }],
    ['a require of a deny rule', { include: [mine], require: [selector] }],
    ['an exclude of a deny rule', { include: [mine], exclude: [selector] }],
  ])('denies as %s', (_, value) => {
    const allow = rule({ include: [mine] })
    expect(allows([allow, rule({ name: 'd', action: 'deny', ...value })], me)).toBe(false)
    expect(allows([allow], me)).toBe(true)
  })

  test('is refused when it is to be saved', () => {
    expect(checkRules([{ name: 'r', action: 'allow', include: [selector] }])).toHaveLength(1)
  })
})

test.each([
  undefined,
  null,
  'allow',
  [],
  { name: 'x', action: 'block', include: [] },
  { name: 'x', action: 'allow' },
  { name: 'x', action: 'allow', include: [], exclude: {} },
  { action: 'allow', include: [] },
])('a malformed rule denies, and is refused when it is to be saved: %j', value => {
  const good: Rule = { name: 'good', action: 'allow', include: [{ anyServiceToken: true }] }
  expect(allows([good, value as Rule], token('a'))).toBe(false)
  expect(allows([good], token('a'))).toBe(true)
  expect(checkRules([good, value])).not.toHaveLength(0)
  expect(checkRules([good])).toEqual([])
})

test('rules with one name twice, too many, or members that are not known are refused', () => {
  const good = { name: 'a', action: 'allow', include: [{ anyServiceToken: true }] }
  expect(checkRules([good, good])).toHaveLength(1)
  expect(checkRules([{ ...good, requires: [] }])).toHaveLength(1)
  expect(checkRules([{ ...good, action: 'deny', permit: {} }])).toHaveLength(1)
  expect(checkRules(Array.from({ length: 101 }, (_, n) => ({ ...good, name: `${n}` })))).toHaveLength(1)
  expect(checkRules({})).toHaveLength(1)
})

// The oracle is slow and written the other way round: it lists every way to be let in, and treats "unknown" by trying both answers.
describe('against an independent oracle', () => {
  const people = ['a', 'b', 'c']
  const known = fc.constantFrom({ serviceToken: 'a' }, { serviceToken: 'b' }, { anyServiceToken: true })
  const selector = fc.oneof(
    { weight: 4, arbitrary: known },
    { weight: 1, arbitrary: fc.constant({ moonPhase: 'full' }) },
  )
  const list = fc.array(selector, { maxLength: 3 })
  const rules = fc.array(
    fc.record({
      name: fc.string({ minLength: 1 }),
      action: fc.constantFrom('allow', 'deny'),
      include: list,
      require: list,
      exclude: list,
    }),
    { maxLength: 5 },
  )

  const holds = (s: object, present: readonly string[], guess: boolean): boolean => {
    if ('moonPhase' in s) return guess
    return 'anyServiceToken' in s ? present.length > 0 : present.includes((s as { serviceToken: string }).serviceToken)
  }
  /** One possible world: each unknown selector gets an answer of its own. */
  const worlds = (unknowns: number) => Array.from({ length: 2 ** unknowns }, (_, bits) => bits)
  type Drawn = { action: string; include: object[]; require: object[]; exclude: object[] }
  const possible = (r: Drawn, present: readonly string[]): boolean[] => {
    const all = [...r.include, ...r.require, ...r.exclude]
    const unknowns = all.filter(s => 'moonPhase' in s).length
    return worlds(unknowns).map(bits => {
      let next = 0
      const answers = all.map(s => holds(s, present, 'moonPhase' in s && ((bits >> next++) & 1) === 1))
      const included = answers.slice(0, r.include.length).some(Boolean)
      const required = answers.slice(r.include.length, r.include.length + r.require.length).every(Boolean)
      const excluded = answers.slice(r.include.length + r.require.length).some(Boolean)
      return included && required && !excluded
    })
  }

  test('agrees', () => {
    let allowed = 0
    fc.assert(
      fc.property(rules, fc.subarray(people), fc.subarray(people), (drawn, present, expired) => {
        const live = present.filter(id => !expired.includes(id))
        const denied = drawn.some(r => r.action === 'deny' && possible(r, live).some(Boolean))
        const letIn = drawn.some(r => r.action === 'allow' && possible(r, live).every(Boolean))
        const expected = !denied && letIn
        const identities = present.map(id => token(id, { expiresAt: expired.includes(id) ? NOW - 1 : NOW + 1 }))
        const before = JSON.stringify([drawn, identities])
        const decision = decide({ identities, now: NOW }, drawn as unknown as Rule[])
        expect(decision.allow).toBe(expected)
        expect(decision.reasons.length).toBeGreaterThan(0)
        expect(JSON.stringify([drawn, identities])).toBe(before)
        if (expected) allowed += 1
      }),
      { numRuns: 5000 },
    )
    expect(allowed).toBeGreaterThan(100)
  })

  test('another unknown selector, anywhere, never turns a deny into an allow', () => {
    const where = fc.constantFrom('include', 'require', 'exclude')
    fc.assert(
      fc.property(rules, fc.subarray(people), fc.nat(), where, (drawn, present, at, list) => {
        const identities = present.map(id => token(id))
        const before = decide({ identities, now: NOW }, drawn as unknown as Rule[]).allow
        const changed = structuredClone(drawn)
        changed[at % changed.length]?.[list as 'include'].push({ moonPhase: 'new' } as never)
        if (!before) expect(decide({ identities, now: NOW }, changed as unknown as Rule[]).allow).toBe(false)
      }),
      { numRuns: 2000 },
    )
  })
})
