import type { Identity, Json } from '@postern/interface'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decide, explain, type Facts, preparePolicy, type Rule, type Selector } from '../src/index.ts'

// The oracle is slow and obvious, and shares no line with what it judges. What is not known of the facts is a coin: the oracle
// throws every coin both ways, with two-valued logic in each world. Whoever is let in is let in in all of them; where one world
// lets a deny rule apply, it denies.

type Coin = { readonly coin: number }
type Truth = boolean | 'coin'
type Drawn = {
  name: string
  action: 'allow' | 'deny' | 'bypass' | 'service'
  include: Selector[]
  require: Selector[]
  exclude: Selector[]
}

const NOW = 1_800_000_000_000
const GROUPS: Record<string, Selector[]> = {
  staff: [{ emailDomain: 'good.example' }, { group: 'staff' }],
  insiders: [{ inGroup: 'staff' }, { address: ['10.0.0.0/8'] }],
}

function some(all: readonly Identity[], truth: (one: Identity) => Truth): Truth {
  const truths = all.map(truth)
  if (truths.includes(true)) return true
  return truths.includes('coin') ? 'coin' : false
}

/** Addresses are drawn from these alone: each is in 10/8, elsewhere, or unreadable. */
const IN_TEN: Record<string, Truth> = {
  '10.1.2.3': true,
  '::ffff:10.1.2.3': true,
  '11.0.0.1': false,
  '2001:db8::1': false,
  '012.0.0.1': 'coin',
  '10.1.2.3%eth0': 'coin',
}
const BELOW_API: Record<string, Truth> = {
  '/api': true,
  '/api/x': true,
  '/%61pi': true,
  '/apis': false,
  '/': false,
  '/x/../api': 'coin',
  '//api': 'coin',
  '/api%2fx': 'coin',
}
const EMAILS: Record<string, string | undefined> = {
  'ann@good.example': 'ann@good.example',
  'ANN@GOOD.example': 'ann@good.example',
  'bob@evil.example': 'bob@evil.example',
  'ann@good.example.': undefined,
  'ann@evil.example@good.example': undefined,
}

function truthOf(s: Selector, r: Drawn, list: string, facts: Facts): Truth {
  const who = facts.identities.filter(one => one.expiresAt === undefined || one.expiresAt > facts.now)
  const isAsking = 'address' in s || 'path' in s || 'method' in s
  if ('inGroup' in s) {
    const parts = (GROUPS[s.inGroup] ?? []).map(one => truthOf(one, r, list, facts))
    return parts.includes(true) ? true : parts.includes('coin') ? 'coin' : false
  }
  // Out of place: nobody knows what is meant.
  if (r.action === 'bypass' && !isAsking) return 'coin'
  if (r.action === 'service' && ('everyone' in s || 'email' in s || 'emailDomain' in s || 'group' in s)) return 'coin'
  if ((r.action === 'allow' || r.action === 'service') && list === 'include' && isAsking) return 'coin'
  if ('moonPhase' in s) return 'coin'
  if ('address' in s) return facts.address === undefined ? 'coin' : (IN_TEN[facts.address] as Truth)
  if ('path' in s) return facts.request === undefined ? 'coin' : (BELOW_API[facts.request.path] as Truth)
  if ('method' in s) return facts.request === undefined ? 'coin' : s.method.includes(facts.request.method)
  const people = who.filter(({ kind }) => kind === 'user')
  const services = who.filter(({ kind }) => kind === 'service')
  const seen = r.action === 'service' ? services : who
  if ('everyone' in s) return people.length > 0
  if ('serviceToken' in s)
    return seen.some(
      one => one.kind === 'service' && one.issuer === 'postern:service-token' && one.subject === s.serviceToken,
    )
  if ('anyServiceToken' in s) return seen.some(one => one.kind === 'service' && one.issuer === 'postern:service-token')
  if ('identity' in s) return seen.some(one => one.issuer === s.identity.issuer && one.subject === s.identity.subject)
  if ('email' in s || 'emailDomain' in s)
    return some(people, ({ email, claims }) => {
      const read = email === undefined ? undefined : EMAILS[email]
      if (read === undefined || ('email_verified' in claims && claims.email_verified !== true)) return 'coin'
      return 'email' in s ? read === s.email : read.endsWith(`@${s.emailDomain}`)
    })
  if ('group' in s) return some(people, ({ groups }) => (groups === undefined ? 'coin' : groups.includes(s.group)))
  if ('certificate' in s) return some(who.filter(isCertificate), one => shows(one, s.certificate))
  const described = r.action === 'allow' ? who.filter(({ kind }) => kind !== 'service') : seen
  if ('provider' in s) return described.some(({ issuer }) => issuer === s.provider)
  if (!('claim' in s)) throw new Error('the oracle knows no such selector')
  const { claim } = s
  return some(
    described.filter(one => !one.issuer.startsWith('postern:') && (claim.issuer ?? one.issuer) === one.issuer),
    ({ claims }) => {
      if (!Object.keys(claims).includes(claim.name)) return 'coin'
      const truths = [claims[claim.name] as Json].flat().map((value): Truth => {
        if (value === null || typeof value === 'object') return 'coin'
        if ('equals' in claim) return value === claim.equals
        if ('in' in claim) return claim.in.some(one => one === value)
        return typeof value === 'string' && /^dev-[a-z]+$/.test(value) // the one pattern that is drawn
      })
      return truths.includes(true) ? true : truths.includes('coin') ? 'coin' : false
    },
  )
}

const isCertificate = (one: Identity) => one.kind === 'certificate' && one.issuer === 'postern:mtls'

/** What is drawn of certificates says all or, of the one called `odd`, nothing that can be read. */
function shows({ subject }: Identity, wanted: object): Truth {
  if (subject === 'odd') return 'coin'
  const says = CERTIFICATES[subject] ?? ''
  return Object.entries(wanted).every(([member, text]) => says.split(' ').includes(`${member}=${text}`))
}
const CERTIFICATES: Record<string, string> = {
  ann: `ca=people commonName=ann email=ann@good.example fingerprint=${'a'.repeat(64)}`,
  web: `ca=machines commonName=web.example dns=web.example dns=www.example uri=urn:web ip=10.0.0.1`,
  tricky: 'ca=machines commonName=ann@good.example dns=ann@good.example',
}
const CLAIMS: Record<string, Record<string, Json>> = {
  ann: {
    ca: 'people',
    commonName: 'ann',
    fingerprint: 'a'.repeat(64),
    san: { dns: [], email: ['Ann@GOOD.example'], uri: [], ip: [] },
  },
  web: {
    ca: 'machines',
    commonName: 'web.example',
    fingerprint: 'b'.repeat(64),
    san: { dns: ['web.example', 'WWW.example'], email: [], uri: ['urn:web'], ip: ['10.0.0.1'] },
  },
  tricky: {
    ca: 'machines',
    commonName: 'ann@good.example',
    fingerprint: 'c'.repeat(64),
    san: { dns: ['ann@good.example'], email: [], uri: [], ip: [] },
  },
  odd: { role: 'dev-ops' },
}

/** Whether the rule applies, in every world there is. */
function worldsOf(r: Drawn, facts: Facts): readonly boolean[] {
  let coins = 0
  const throwable = (list: 'include' | 'require' | 'exclude') =>
    r[list].map((s): boolean | Coin => {
      const truth = truthOf(s, r, list, facts)
      return truth === 'coin' ? { coin: coins++ } : truth
    })
  const lists = { include: throwable('include'), require: throwable('require'), exclude: throwable('exclude') }
  if (r.action === 'bypass' && facts.request === undefined) return [false]
  return Array.from({ length: 2 ** coins }, (_, world) => {
    const fallen = (one: boolean | Coin) => (typeof one === 'boolean' ? one : ((world >> one.coin) & 1) === 1)
    return lists.include.some(fallen) && lists.require.every(fallen) && !lists.exclude.some(fallen)
  })
}

function oracle(rules: readonly Drawn[], facts: Facts): { allow: boolean; rule: string | undefined } {
  const answers = rules.map(r => ({ r, worlds: worldsOf(r, facts) }))
  const denying = answers.find(({ r, worlds }) => r.action === 'deny' && worlds.includes(true))
  if (denying) return { allow: false, rule: denying.r.name }
  const bypassing = answers.find(({ r, worlds }) => r.action === 'bypass' && !worlds.includes(false))
  const letting = answers.find(
    ({ r, worlds }) => (r.action === 'allow' || r.action === 'service') && !worlds.includes(false),
  )
  return { allow: bypassing !== undefined || letting !== undefined, rule: (bypassing ?? letting)?.r.name }
}

const IDP = 'https://idp.example'
const selector = fc.constantFrom<Selector>(
  { everyone: true },
  { email: 'ann@good.example' },
  { emailDomain: 'good.example' },
  { group: 'staff' },
  { provider: IDP },
  { claim: { name: 'role', equals: 'dev-ops' } },
  { claim: { name: 'role', in: ['dev-ops', 7] } },
  { claim: { name: 'role', matches: 'dev-[a-z]+', issuer: IDP } },
  { claim: { name: '__proto__', equals: 'x' } },
  { identity: { issuer: IDP, subject: 'ann' } },
  { identity: { issuer: 'https://ci.example', subject: 'job' } },
  { serviceToken: 'a' },
  { anyServiceToken: true },
  { certificate: { email: 'ann@good.example' } },
  { certificate: { ca: 'people', commonName: 'ann', fingerprint: 'a'.repeat(64) } },
  { certificate: { dns: 'www.example', ip: '10.0.0.1' } },
  { certificate: { ca: 'machines' } },
  { address: ['10.0.0.0/8'] },
  { path: ['/api/*'] },
  { method: ['GET', 'HEAD'] },
  { inGroup: 'staff' },
  { inGroup: 'insiders' },
  { moonPhase: 'full' } as unknown as Selector,
)
const list = (maxLength: number) => fc.array(selector, { maxLength })
const rule = fc.record({
  name: fc.uuid(),
  action: fc.constantFrom('allow', 'allow', 'deny', 'bypass', 'service', 'service' as const),
  include: list(3),
  require: fc.oneof(list(0), list(2)),
  exclude: fc.oneof(list(0), list(2)),
})
const claims = fc.constantFrom<Record<string, Json>>(
  {},
  { role: 'dev-ops' },
  { role: ['x', 'dev-web'] },
  { role: { nested: true } },
  { role: 7, email_verified: true },
  { email_verified: false },
  { email_verified: 'true' },
)
const expiresAt = fc.constantFrom(NOW + 1, NOW + 1, NOW + 1, NOW)
const person = fc.record(
  {
    kind: fc.constant('user' as const),
    issuer: fc.constantFrom(IDP, 'https://other.example'),
    subject: fc.constantFrom('ann', 'bob'),
    claims,
    revokeKeys: fc.constant([]),
    expiresAt,
    email: fc.constantFrom(...Object.keys(EMAILS)),
    groups: fc.constantFrom<string[]>([], ['staff'], ['Staff', 'staff ']),
  },
  { requiredKeys: ['kind', 'issuer', 'subject', 'claims', 'revokeKeys'] },
)
const service = fc.record({
  kind: fc.constantFrom('service' as const, 'service' as const, 'certificate' as const),
  issuer: fc.constantFrom('postern:service-token', 'postern:service-token', 'https://ci.example', IDP),
  subject: fc.constantFrom('a', 'a', 'b', 'job'),
  claims,
  revokeKeys: fc.constant([]),
  expiresAt,
})
const certificate = fc.constantFrom(...Object.keys(CLAIMS)).chain(subject =>
  fc.record({
    kind: fc.constant('certificate' as const),
    issuer: fc.constant('postern:mtls'),
    subject: fc.constant(subject),
    claims: fc.constant(CLAIMS[subject] ?? {}),
    revokeKeys: fc.constant([]),
    expiresAt,
  }),
)
const facts: fc.Arbitrary<Facts> = fc.record(
  {
    identities: fc.array(fc.oneof(person, service, certificate), { maxLength: 3 }) as fc.Arbitrary<Identity[]>,
    now: fc.constant(NOW),
    address: fc.constantFrom(...Object.keys(IN_TEN)),
    request: fc.record({ method: fc.constantFrom('GET', 'POST'), path: fc.constantFrom(...Object.keys(BELOW_API)) }),
  },
  { requiredKeys: ['identities', 'now'] },
)
const SEED = 20_261_121

test('decides as the oracle does, names the same rule, and changes nothing it was given', { timeout: 120_000 }, () => {
  const seen = new Map<string, number>()
  fc.assert(
    fc.property(fc.array(rule, { maxLength: 5 }), facts, (rules, given) => {
      const before = JSON.stringify([rules, given])
      const policy = preparePolicy(rules as Rule[], GROUPS)
      const decision = decide(given, policy)
      expect({ allow: decision.allow, rule: decision.rule }).toEqual(oracle(rules, given))
      expect(decide(given, policy)).toEqual(decision)
      const { verdicts } = explain(given, policy)
      expect(verdicts.map(one => one.rule).sort()).toEqual(rules.map(one => one.name).sort())
      expect(JSON.stringify([rules, given])).toBe(before)
      const kind = `${decision.allow} ${decision.action}`
      seen.set(kind, (seen.get(kind) ?? 0) + 1)
    }),
    { numRuns: 10_000, seed: SEED },
  )
  for (const kind of ['true allow', 'true service', 'true bypass', 'false deny', 'false undefined'])
    expect(seen.get(kind), kind).toBeGreaterThan(50)
})

test('a fact that is taken away never lets anybody in', { timeout: 120_000 }, () => {
  const where = fc.constantFrom('address', 'request', 'email', 'groups', 'claims')
  fc.assert(
    fc.property(fc.array(rule, { maxLength: 4 }), facts, where, (rules, given, what) => {
      const policy = preparePolicy(rules as Rule[], GROUPS)
      if (decide(given, policy).allow) return
      const identities = given.identities.map(one => {
        // Without its claims nothing is known of it; a part of them it never says.
        if (what === 'claims' && isCertificate(one)) return { ...one, claims: {} }
        if (what === 'claims')
          return {
            ...one,
            claims: Object.fromEntries(Object.entries(one.claims).filter(([key]) => key === 'email_verified')),
          }
        const { [what as 'email']: _, ...rest } = one
        return rest as Identity
      })
      const { [what as 'address']: _, ...less } = given
      expect(decide({ ...less, identities }, policy).allow).toBe(false)
    }),
    { numRuns: 5_000, seed: SEED },
  )
})

test('a person more never lets a service in by a rule about people, nor a service a person by one about services', () => {
  fc.assert(
    fc.property(facts, given => {
      const services = { ...given, identities: given.identities.filter(({ kind }) => kind === 'service') }
      const people = { ...given, identities: given.identities.filter(({ kind }) => kind === 'user') }
      const certificates = { ...given, identities: given.identities.filter(isCertificate) }
      const about: Selector[] = [
        { everyone: true },
        { emailDomain: 'good.example' },
        { group: 'staff' },
        { provider: IDP },
        { claim: { name: 'role', equals: 'dev-ops' } },
      ]
      const rules = (action: 'allow' | 'service'): Rule[] =>
        about.map((one, at) => ({ name: `${at}`, action, include: [one] }))
      expect(decide(services, preparePolicy(rules('allow'))).allow).toBe(false)
      expect(decide(certificates, preparePolicy(rules('allow'))).allow).toBe(false)
      expect(decide(certificates, preparePolicy(rules('service'))).allow).toBe(false)
      expect(decide(people, preparePolicy(rules('service'))).allow).toBe(false)
    }),
    { numRuns: 1_000, seed: SEED },
  )
})
