import type { Identity, Json } from '@postern/interface'
import { describe, expect, test } from 'vitest'
import {
  checkGroups,
  checkRules,
  decide,
  explain,
  type Facts,
  type Groups,
  preparePolicy,
  type Rule,
  type Selector,
} from '../src/index.ts'

const NOW = 1_800_000_000_000
const IDP = 'https://idp.example'
const person = (more: Partial<Identity> = {}): Identity => ({
  kind: 'user',
  issuer: IDP,
  subject: 'ann',
  email: 'ann@good.example',
  groups: ['staff'],
  claims: {},
  revokeKeys: [],
  ...more,
})
const token = (id = 'ci'): Identity => ({
  kind: 'service',
  issuer: 'postern:service-token',
  subject: id,
  claims: {},
  revokeKeys: [],
})
const certificate = (claims: Record<string, Json> = {}): Identity => ({
  kind: 'certificate',
  issuer: 'postern:mtls',
  subject: 'staff/email:ann@good.example',
  claims: {
    ca: 'staff',
    fingerprint: 'a'.repeat(64),
    serial: '01',
    issuer: 'CN=Staff CA',
    commonName: 'Ann',
    san: { dns: [], email: ['ann@good.example'], uri: [], ip: [] },
    ...claims,
  },
  revokeKeys: [],
})
const san = (names: Record<string, string[]>): Identity =>
  certificate({ san: { dns: [], email: [], uri: [], ip: [], ...names } })
const rule = (value: Partial<Rule>): Rule => ({ name: 'r', action: 'allow', include: [], ...value })
const ask = (rules: readonly Rule[], identities: readonly Identity[], more: Partial<Facts> = {}, groups?: Groups) =>
  decide({ identities, now: NOW, ...more }, preparePolicy(rules, groups))
const get = (path: string, method = 'GET'): Partial<Facts> => ({ request: { method, path } })

/** As an include it lets in who matches; as an exclude it keeps out who matches, or cannot be told apart from who does. */
function letsIn(selector: Selector, identity: Identity, more?: Partial<Facts>) {
  const asWho = ask([rule({ include: [{ everyone: true }], require: [selector] })], [identity], more).allow
  const negated = ask([rule({ include: [{ everyone: true }], exclude: [selector] })], [identity], more).allow
  return { matches: asWho, differs: negated }
}
const YES = { matches: true, differs: false }
const NO = { matches: false, differs: true }
const UNKNOWN = { matches: false, differs: false }

describe('row 14: an email', () => {
  test('is compared in ASCII lower case, as a whole', () => {
    for (const email of ['ann@good.example', 'Ann@GOOD.Example']) {
      expect(letsIn({ email: 'ann@good.example' }, person({ email })), email).toEqual(YES)
      expect(letsIn({ emailDomain: 'good.example' }, person({ email })), email).toEqual(YES)
    }
    expect(letsIn({ email: 'ann@good.example' }, person({ email: 'ann@evil.example' }))).toEqual(NO)
    expect(letsIn({ emailDomain: 'good.example' }, person({ email: 'ann@sub.good.example' }))).toEqual(NO)
    expect(letsIn({ emailDomain: 'good.example' }, person({ email: 'ann@notgood.example' }))).toEqual(NO)
  })

  test.each([
    'ann@good.example.',
    'ann@evil.example@good.example',
    'ann@good.example,bob@evil.example',
    '"ann@evil.example"@good.example',
    'ann@ｇood.example', // fullwidth
    'ann@gооd.example', // Cyrillic
    'ann@\u212Aood.example', // Kelvin sign, a k in lower case
    'аnn@good.example',
    'ann@good。example',
    ' ann@good.example',
    'ann@good.example\n',
    'ann@good.example\0',
    '@good.example',
    'ann@',
    'good.example',
    `${'a'.repeat(65)}@good.example`,
  ])('that can be read in two ways is nobody’s: %j', email => {
    expect(letsIn({ email: 'ann@good.example' }, person({ email }))).toEqual(UNKNOWN)
    expect(letsIn({ emailDomain: 'good.example' }, person({ email }))).toEqual(UNKNOWN)
  })

  test('counts only where the provider vouches for it', () => {
    const selector: Selector = { emailDomain: 'good.example' }
    expect(letsIn(selector, person({ claims: { email_verified: true } }))).toEqual(YES)
    for (const email_verified of [false, 'true', 'false', 1, null] as Json[])
      expect(letsIn(selector, person({ claims: { email_verified } }))).toEqual(UNKNOWN)
    const { email: _, ...without } = person()
    expect(letsIn(selector, without)).toEqual(UNKNOWN)
    expect(letsIn(selector, { ...without, claims: { email: 'ann@good.example' } })).toEqual(UNKNOWN)
  })

  test.each(['bücher.example', 'Good.example', 'good.example.', '*.good.example', 'example', ''])(
    'in a rule has a domain that can be compared, not %j',
    emailDomain => {
      expect(checkRules([rule({ include: [{ emailDomain }] })])).toHaveLength(1)
      expect(checkRules([rule({ include: [{ emailDomain: 'xn--bcher-kva.example' }] })])).toEqual([])
    },
  )
})

describe('row 26: groups and claims', () => {
  const claim = (value: object): Selector => ({ claim: value }) as unknown as Selector

  test('are matched exactly, also one of a list', () => {
    expect(letsIn({ group: 'staff' }, person())).toEqual(YES)
    expect(letsIn({ group: 'Staff' }, person())).toEqual(NO)
    expect(letsIn(claim({ name: 'dept', equals: 'it' }), person({ claims: { dept: 'it' } }))).toEqual(YES)
    expect(letsIn(claim({ name: 'dept', equals: 'it' }), person({ claims: { dept: ['hr', 'it'] } }))).toEqual(YES)
    expect(letsIn(claim({ name: 'dept', in: ['it', 'hr'] }), person({ claims: { dept: 'hr' } }))).toEqual(YES)
    expect(letsIn(claim({ name: 'level', equals: 3 }), person({ claims: { level: '3' } }))).toEqual(NO)
    expect(letsIn(claim({ name: 'dept', equals: 'it', issuer: IDP }), person({ claims: { dept: 'it' } }))).toEqual(YES)
    const elsewhere = person({ issuer: 'https://other.example', claims: { dept: 'it' } })
    expect(letsIn(claim({ name: 'dept', equals: 'it', issuer: IDP }), elsewhere)).toEqual(NO)
  })

  test('that are missing, of another form or too many help nobody, under negation either', () => {
    const { groups: _, ...overage } = person()
    expect(letsIn({ group: 'contractors' }, overage)).toEqual(UNKNOWN)
    const many = Array.from({ length: 100_000 }, (_, n) => `g${n}`)
    expect(letsIn({ group: 'g7' }, person({ groups: many }))).toEqual(UNKNOWN)
    expect(letsIn({ group: 'g7' }, person({ groups: many.slice(0, 1000) }))).toEqual(YES)
    expect(letsIn(claim({ name: 'r', equals: 'g7' }), person({ claims: { r: many } }))).toEqual(UNKNOWN)
    expect(letsIn(claim({ name: 'r', equals: 'x' }), person())).toEqual(UNKNOWN)
    for (const r of [{ x: 'x' }, [['x']], null] as Json[])
      expect(letsIn(claim({ name: 'r', equals: 'x' }), person({ claims: { r } }))).toEqual(UNKNOWN)
  })

  test('are their own, not what objects inherit; and nothing is changed by their names', () => {
    for (const name of ['__proto__', 'constructor', 'toString', 'hasOwnProperty'])
      expect(letsIn(claim({ name, matches: '.*' }), person())).toEqual(UNKNOWN)
    const own = JSON.parse('{"__proto__": "x", "constructor": {"prototype": {"isAdmin": true}}}')
    expect(letsIn(claim({ name: '__proto__', equals: 'x' }), person({ claims: own }))).toEqual(YES)
    let deep: Json = 'x'
    for (let depth = 0; depth < 10_000; depth++) deep = [deep]
    expect(letsIn(claim({ name: 'r', equals: 'x' }), person({ claims: { r: deep } }))).toEqual(UNKNOWN)
    expect(({} as { isAdmin?: boolean }).isAdmin).toBeUndefined()
    expect(ask([rule({ include: [{ inGroup: 'constructor' }] })], [person()], {}, {}).allow).toBe(false)
  })
})

describe('rows 64, 131: a regular expression', () => {
  const matches = (pattern: string, r: Json) =>
    letsIn({ claim: { name: 'r', matches: pattern } }, person({ claims: { r } }))

  test('is for the whole text', () => {
    expect(matches('dev-.*', 'dev-ops')).toEqual(YES)
    expect(matches('dev', 'dev-ops')).toEqual(NO)
    expect(matches('a|b', 'ab')).toEqual(NO)
    expect(matches('[a-z]+', 'ok\nevil')).toEqual(NO)
    expect(matches('x', ['y', 'x'])).toEqual(YES)
  })

  test('takes time in proportion, and reads 1,024 characters at most', { timeout: 10_000 }, () => {
    expect(matches('^(a+)+$', `${'a'.repeat(1023)}`)).toEqual(YES)
    expect(matches('^(a+)+$', `${'a'.repeat(1023)}!`)).toEqual(NO)
    expect(matches('^(a+)+$', `${'a'.repeat(50_000)}!`)).toEqual(UNKNOWN)
  })

  test.each(['(?=a)', '\\1', '[', '(', 'a{1001}', '((a{1000}){1000}){1000}', 'a'.repeat(257)])(
    'that RE2 has not is refused: %s',
    pattern => {
      expect(checkRules([rule({ include: [{ claim: { name: 'r', matches: pattern } }] })])).toHaveLength(1)
      expect(matches(pattern, 'a')).toEqual(UNKNOWN)
    },
  )
})

describe('row 53: an address', () => {
  const from = (address: string | undefined, ...ranges: string[]) =>
    letsIn({ address: ranges }, person(), address === undefined ? {} : { address })

  test('is in a range whichever way IPv4 came in, and only in those of its family', () => {
    expect(from('10.1.2.3', '10.0.0.0/8')).toEqual(YES)
    expect(from('::ffff:10.1.2.3', '10.0.0.0/8')).toEqual(YES)
    expect(from('11.0.0.0', '10.0.0.0/8')).toEqual(NO)
    expect(from('10.255.255.255', '192.0.2.7', '10.0.0.0/8')).toEqual(YES)
    expect(from('192.0.2.7', '192.0.2.7')).toEqual(YES)
    expect(from('192.0.2.8', '192.0.2.7')).toEqual(NO)
    expect(from('192.0.2.6', '192.0.2.6/31')).toEqual(YES)
    expect(from('2001:db8::1', '2001:db8::/32')).toEqual(YES)
    expect(from('2001:db9::1', '2001:db8::/32')).toEqual(NO)
    expect(from('10.0.0.1', '::/0')).toEqual(NO)
    expect(from('::1', '0.0.0.0/0')).toEqual(NO)
    expect(from('1.2.3.4', '0.0.0.0/0')).toEqual(YES)
    expect(from('fe80::1:0:0:1', '::/0')).toEqual(YES)
  })

  test.each([
    undefined,
    '',
    'unknown',
    '012.0.0.1',
    '0x0a.0.0.1',
    '10.1',
    '167772161',
    '10.0.0.1 ',
    '10.0.0.1:80',
    '10.0.0.256',
    'fe80::1%eth0',
    '[::1]',
    '::ffff:0a00:0001',
    '::FFFF:10.0.0.1',
    '0:0:0:0:0:ffff:10.0.0.1',
    '2001:DB8::1',
    '2001:db8:0:0:0:0:0:1',
    '2001:0db8::1',
    '1::2::3',
    '1:2:3:4:5:6:7::8',
  ])('that is not in its usual spelling is in no range, and outside of none: %s', address => {
    expect(from(address, '0.0.0.0/0', '::/0')).toEqual(UNKNOWN)
  })

  test.each([
    '10.0.0.1/8',
    '10.0.0.0/33',
    '10.0.0.0/',
    '10.0.0.0/08',
    '::1/0',
    '::ffff:10.0.0.0/104',
    'office',
    '10.*',
  ])('range in a rule is one: not %s', range => {
    expect(checkRules([rule({ include: [{ everyone: true }], require: [{ address: [range] }] })])).toHaveLength(1)
  })
})

describe('row 51: a path', () => {
  const at = (path: string, ...patterns: string[]) => letsIn({ path: patterns }, person(), get(path))

  test('is one and what is below it, by whole segments', () => {
    for (const path of ['/api', '/api/', '/api/x', '/api/x/y', '/%61pi']) expect(at(path, '/api'), path).toEqual(YES)
    for (const path of ['/', '/apis', '/x/api', '/API']) expect(at(path, '/api/*'), path).toEqual(NO)
    expect(at('/a/1/b', '/a/*/b')).toEqual(YES)
    expect(at('/a/b', '/a/*/b')).toEqual(NO)
    expect(at('/anything', '/')).toEqual(YES)
  })

  test.each([
    '/public/../admin',
    '/public/%2e%2e/admin',
    '/public/..;/admin',
    '//admin',
    '/public//admin',
    '/admin%2f',
    '/admin%5c',
    '/admin\\x',
    '/admin%00',
    '/admin#/public',
    '/public%23/../admin',
    '/admin/.',
    '/admin%c0%af',
    '/%2561dmin',
    '/admin?x',
    '/admin;x=1',
    '/public／admin',
    '/public%EF%BC%8Fadmin',
    '*',
    'http://app.example/admin',
    '',
  ])('that can be read in two ways is below none and outside of none: %s', path => {
    expect(at(path, '/admin')).toEqual(UNKNOWN)
    expect(at(path, '/public')).toEqual(UNKNOWN)
    const rules = [
      rule({ name: 'open', action: 'bypass', include: [{ path: ['/'] }] }),
      rule({ name: 'closed', action: 'deny', include: [{ path: ['/admin'] }] }),
    ]
    expect(ask(rules, [], get(path)).allow).toBe(false)
    expect(ask(rules, [], get('/public')).allow).toBe(true)
  })

  test('and method are not known of access to a protocol, so no rule about them helps there', () => {
    for (const selector of [{ path: ['/'] }, { method: ['GET'] }] as Selector[])
      expect(letsIn(selector, person())).toEqual(UNKNOWN)
    expect(letsIn({ method: ['GET', 'HEAD'] }, person(), get('/', 'HEAD'))).toEqual(YES)
    expect(letsIn({ method: ['GET', 'HEAD'] }, person(), get('/', 'get'))).toEqual(NO)
  })

  test.each(['api', '/api?x', '/a b', '/a//b', '/a/../b', '/a/b*', '/%61', '/a;b', '/ａpi'])(
    'pattern in a rule is one: not %s',
    path => {
      expect(checkRules([rule({ action: 'bypass', include: [{ path: [path] }] })])).toHaveLength(1)
    },
  )
})

describe('an action', () => {
  const health = rule({ name: 'health', action: 'bypass', include: [{ path: ['/health'] }] })
  const staff = rule({ name: 'staff', include: [{ everyone: true }] })
  const machines = rule({ name: 'machines', action: 'service', include: [{ anyServiceToken: true }] })

  test('bypass needs nobody, for a single request only', () => {
    expect(ask([health], [], get('/health'))).toMatchObject({ allow: true, action: 'bypass', rule: 'health' })
    expect(ask([health], [], get('/other')).allow).toBe(false)
    expect(ask([health], []).allow).toBe(false)
    const office = rule({ action: 'bypass', include: [{ address: ['10.0.0.0/8'] }] })
    expect(ask([office], [], { address: '10.0.0.1', ...get('/') }).allow).toBe(true)
    expect(ask([office], [], { address: '10.0.0.1' }).allow).toBe(false)
  })

  test('deny goes before all of them', () => {
    const no = rule({ name: 'no', action: 'deny', include: [{ address: ['192.0.2.0/24'] }] })
    const all = [health, staff, machines, no]
    const from = (address: string) => ({ address, ...get('/health') })
    for (const who of [[], [person()], [token()]]) {
      expect(ask(all, who, from('192.0.2.1'))).toMatchObject({ allow: false, rule: 'no', signIn: false })
      expect(ask(all, who, from('192.0.3.1')).allow).toBe(true)
    }
  })

  test('service is for services, allow for people and for services by name', () => {
    expect(ask([machines], [token()])).toMatchObject({ allow: true, action: 'service' })
    expect(ask([machines], [person()]).allow).toBe(false)
    expect(ask([staff], [person()]).allow).toBe(true)
    expect(ask([staff], [token()]).allow).toBe(false)
    const job: Identity = { ...token(), issuer: 'https://ci.example', claims: { repository: 'me/it' } }
    const ours: Selector = { claim: { name: 'repository', equals: 'me/it' } }
    expect(ask([rule({ action: 'service', include: [ours] })], [job]).allow).toBe(true)
    expect(ask([rule({ include: [ours] })], [job]).allow).toBe(false)
  })

  test('leads to a sign-in only where a person might be let in by one', () => {
    expect(ask([staff], []).signIn).toBe(true)
    expect(ask([machines, health], []).signIn).toBe(false)
    expect(ask([machines, staff], [token('other')]).signIn).toBe(false)
    expect(ask([staff, rule({ name: 'd', action: 'deny', include: [{ method: ['GET'] }] })], [], get('/')).signIn).toBe(
      false,
    )
    const inside = rule({ include: [{ everyone: true }], require: [{ address: ['10.0.0.0/8'] }] })
    expect(ask([inside], [], { address: '10.0.0.1' }).signIn).toBe(true)
    expect(ask([inside], [], { address: '11.0.0.1' }).signIn).toBe(false)
    expect(ask([rule({ include: [{ serviceToken: 'ci' }] })], []).signIn).toBe(false)
    expect(ask([staff], [person({ expiresAt: NOW })]).signIn).toBe(true)
  })

  test.each<[Partial<Rule>, RegExp]>([
    [{ action: 'bypass', include: [{ everyone: true }] }, /include\[0\]\.everyone is about who asks/],
    [{ action: 'bypass', include: [{ path: ['/'] }], permit: {} }, /permits nothing/],
    [{ action: 'service', include: [{ group: 'x' }] }, /include\[0\]\.group is about people/],
    [{ action: 'allow', include: [{ address: ['10.0.0.0/8'] }] }, /include\[0\]\.address does not say who/],
  ])('has selectors that mean something in it: not %j', (value, why) => {
    expect(checkRules([rule(value)])).toEqual([expect.stringMatching(why)])
    expect(ask([rule(value)], [person(), token()], { address: '10.0.0.1', ...get('/') }).allow).toBe(
      value.permit !== undefined,
    )
  })
})

describe('a reusable group', () => {
  const groups: Groups = {
    staff: [{ emailDomain: 'good.example' }],
    office: [{ address: ['10.0.0.0/8'] }],
    both: [{ inGroup: 'staff' }, { group: 'guests' }],
  }
  const use = (name: string, more: Partial<Rule> = {}) => rule({ include: [{ inGroup: name }], ...more })

  test('matches what one of its selectors does, through other groups too', () => {
    expect(checkGroups(groups)).toEqual([])
    for (const name of ['staff', 'both']) {
      expect(checkRules([use(name)], groups)).toEqual([])
      expect(ask([use(name)], [person()], {}, groups).allow).toBe(true)
      expect(ask([use(name)], [person({ email: 'x@evil.example', groups: [] })], {}, groups).allow).toBe(false)
    }
    const inside = rule({ include: [{ everyone: true }], require: [{ inGroup: 'office' }] })
    expect(ask([inside], [person()], { address: '10.0.0.1' }, groups).allow).toBe(true)
  })

  test('that is not there, in itself or too deep is refused, and lets nobody in', () => {
    expect(checkRules([use('gone')], groups)).toEqual(['rule 1: include[0].inGroup names a group that is not there'])
    expect(checkRules([use('office')], groups)).toEqual([
      expect.stringMatching(/a group with address, which does not say who/),
    ])
    const loop: Groups = { a: [{ inGroup: 'b' }, { everyone: true }], b: [{ inGroup: 'a' }] }
    expect(checkGroups(loop)).toEqual([expect.stringMatching(/is in itself/)])
    const tower = (depth: number): Groups =>
      Object.fromEntries(
        Array.from({ length: depth }, (_, n) => [`g${n}`, n === 0 ? [{ everyone: true }] : [{ inGroup: `g${n - 1}` }]]),
      )
    expect(checkGroups(tower(8))).toEqual([])
    expect(ask([use('g7')], [person()], {}, tower(8)).allow).toBe(true)
    expect(checkGroups(tower(9))).not.toEqual([])
    expect(checkGroups(tower(500))).not.toEqual([])
    expect(ask([use('g8')], [person()], {}, tower(9)).allow).toBe(false)
    expect(ask([use('g499')], [person()], {}, tower(500)).allow).toBe(false)
  })

  test('that names others a thousand times, eight deep, is looked at once', { timeout: 20_000 }, () => {
    const wide = (name: string): Selector[] => Array.from({ length: 1000 }, () => ({ inGroup: name }))
    const bomb: Groups = {
      g0: [{ group: 'nobody' }],
      ...Object.fromEntries(Array.from({ length: 7 }, (_, n) => [`g${n + 1}`, wide(`g${n}`)])),
    }
    expect(checkGroups(bomb)).toEqual([])
    expect(ask([use('g7')], [person()], {}, bomb).allow).toBe(false)
    expect(ask([use('g7')], [person({ groups: ['nobody'] })], {}, bomb).allow).toBe(true)
  })
})

test('every rule’s verdict names the selector that it hung on', () => {
  const { groups: _, ...whose } = person()
  const rules = [
    rule({ name: 'a', include: [{ everyone: true }], require: [{ email: 'bob@good.example' }] }),
    rule({ name: 'b', include: [{ everyone: true }], exclude: [{ emailDomain: 'good.example' }] }),
    rule({ name: 'c', include: [{ everyone: true }], exclude: [{ group: 'guests' }] }),
    rule({ name: 'd', include: [{ email: 'ann@good.example' }] }),
    rule({ name: 'e', action: 'bypass', include: [{ path: ['/'] }] }),
    rule({ name: 'f', action: 'deny', include: [{ email: 'bob@good.example' }] }),
  ]
  const { verdicts, decision } = explain({ identities: [whose], now: NOW }, preparePolicy(rules))
  expect(decision).toMatchObject({ allow: true, rule: 'd' })
  expect(verdicts.map(({ rule: name, applies, why }) => [name, applies, why])).toEqual([
    ['f', 'no', 'not included'],
    ['e', 'no', 'it is no single HTTP request'],
    ['a', 'no', 'require[0] {"email":"bob@good.example"} is not met'],
    ['b', 'no', 'exclude[0] {"emailDomain":"good.example"} matches'],
    [
      'c',
      'unknown',
      'exclude[0] {"group":"guests"} cannot be decided: their provider does not say what groups they are in',
    ],
    ['d', 'yes', 'applies'],
  ])
})

describe('row 89: a certificate', () => {
  const letsInBy = (wanted: Record<string, string>, shown: Identity) => {
    const asked = { certificate: wanted } as Selector
    const asWho = ask([rule({ include: [asked] })], [shown])
    const asService = ask([rule({ action: 'service', include: [asked] })], [shown])
    expect(asService.allow).toBe(asWho.allow)
    // A person beside it changes nothing: neither is the other.
    expect(ask([rule({ include: [asked] })], [shown, person()]).allow).toBe(asWho.allow)
    return asWho.allow
  }

  test.each([
    [{ ca: 'staff' }, { ca: 'other' }],
    [{ commonName: 'Ann' }, { commonName: 'ann' }],
    [{ email: 'ann@good.example' }, { email: 'ann@evil.example' }],
    [{ email: 'ANN@Good.example' }, { email: 'ann@good.example.org' }],
    [{ fingerprint: 'a'.repeat(64) }, { fingerprint: 'b'.repeat(64) }],
    [{ issuer: 'CN=Staff CA' }, { issuer: 'CN=Staff CA,O=Other' }],
    [
      { ca: 'staff', commonName: 'Ann' },
      { ca: 'staff', commonName: 'Bob' },
    ],
  ])('is met by %j, not by %j', (met, unmet) => {
    expect(letsInBy(met as Record<string, string>, certificate())).toBe(true)
    expect(letsInBy(unmet as Record<string, string>, certificate())).toBe(false)
  })

  test('has names of a type each, spelled exactly', () => {
    const cases: [Record<string, string>, Record<string, string[]>, boolean][] = [
      [{ dns: 'build.example' }, { dns: ['Build.EXAMPLE'] }, true],
      [{ dns: 'build.example' }, { dns: ['*.example'] }, false],
      [{ dns: 'build.example' }, { dns: ['build.example.'] }, false],
      [{ dns: 'build.example' }, { dns: ['build.example\0.evil.example'] }, false],
      [{ dns: 'build.example' }, { uri: ['build.example'], email: ['build.example'], ip: ['build.example'] }, false],
      [{ dns: 'build.example' }, { dns: ['\u212Auild.example', 'ｂuild.example'] }, false],
      [{ email: 'kim@good.example' }, { email: ['\u212Aim@good.example'] }, false],
      [{ email: 'kim@good.example' }, { email: ['kim@good.example,x@evil.example'] }, false],
      [{ uri: 'spiffe://a/b' }, { uri: ['spiffe://a/b'] }, true],
      [{ uri: 'spiffe://a/b' }, { uri: ['spiffe://a/B', 'spiffe://a/b/'] }, false],
      [{ ip: '10.0.0.1' }, { ip: ['10.0.0.1'] }, true],
      [{ ip: '10.0.0.1' }, { dns: ['10.0.0.1'] }, false],
      [{ ip: '2001:db8::1' }, { ip: ['2001:db8::2'] }, false],
    ]
    for (const [wanted, names, met] of cases) expect(letsInBy(wanted, san(names)), JSON.stringify(names)).toBe(met)
  })

  test('has no common name in place of a name, nor the other way round', () => {
    const claimed = certificate({ commonName: 'ann@good.example', san: { dns: [], email: [], uri: [], ip: [] } })
    expect(letsInBy({ email: 'ann@good.example' }, claimed)).toBe(false)
    expect(letsInBy({ commonName: 'ann@good.example' }, claimed)).toBe(true)
    expect(letsInBy({ commonName: 'ann@good.example' }, certificate())).toBe(false)
  })

  test('is one certificate, not what two say together', () => {
    const other = certificate({ ca: 'other', commonName: 'Bob' })
    const both = rule({ include: [{ certificate: { ca: 'other', commonName: 'Ann' } }] })
    expect(ask([both], [certificate(), other]).allow).toBe(false)
    expect(ask([both], [certificate(), certificate({ ca: 'other' })]).allow).toBe(true)
  })

  test('is no person, and no service token', () => {
    const about: Selector[] = [
      { everyone: true },
      { email: 'ann@good.example' },
      { emailDomain: 'good.example' },
      { group: 'staff' },
      { anyServiceToken: true },
      { serviceToken: 'staff/email:ann@good.example' },
      { claim: { name: 'commonName', equals: 'Ann' } },
    ]
    for (const include of about) expect(ask([rule({ include: [include] })], [certificate()]).allow).toBe(false)
    expect(letsInBy({ ca: 'staff' }, { ...certificate(), kind: 'user' })).toBe(false)
    expect(letsInBy({ ca: 'staff' }, { ...certificate(), issuer: IDP })).toBe(false)
    expect(letsInBy({ ca: 'staff' }, certificate())).toBe(true)
  })

  test('has no claims: beside a person it leaves theirs what they are', () => {
    const guests = rule({ include: [{ everyone: true }], exclude: [{ claim: { name: 'role', equals: 'guest' } }] })
    const member = person({ claims: { role: 'member' } })
    expect(ask([guests], [member, certificate()]).allow).toBe(true)
    expect(ask([guests], [person({ claims: { role: 'guest' } }), certificate()]).allow).toBe(false)
  })

  test('beside a person: a rule that requires both', () => {
    const both = rule({ include: [{ email: 'ann@good.example' }], require: [{ certificate: { ca: 'staff' } }] })
    expect(ask([both], [person(), certificate()]).allow).toBe(true)
    expect(ask([both], [person()]).allow).toBe(false)
    expect(ask([both], [person(), certificate({ ca: 'other' })]).allow).toBe(false)
    expect(ask([both], [person({ email: 'bob@good.example' }), certificate()]).allow).toBe(false)
    expect(ask([both], [certificate()]).allow).toBe(false)
  })

  test('sends nobody to sign in whom that does not help', () => {
    const both = rule({ include: [{ email: 'ann@good.example' }], require: [{ certificate: { ca: 'staff' } }] })
    expect(ask([both], []).signIn).toBe(false)
    expect(ask([both], [certificate()]).signIn).toBe(true)
    expect(ask([both], [certificate({ ca: 'other' })]).signIn).toBe(false)
    expect(ask([both], [token()]).signIn).toBe(false)
    expect(ask([rule({ include: [{ certificate: { ca: 'staff' } }] })], []).signIn).toBe(false)
  })

  test('that is denied is denied, whatever else is there', () => {
    const deny = rule({ name: 'd', action: 'deny', include: [{ certificate: { fingerprint: 'a'.repeat(64) } }] })
    const rules = [deny, rule({ include: [{ everyone: true }] })]
    expect(ask(rules, [person(), certificate()]).allow).toBe(false)
    expect(ask(rules, [person(), certificate({ fingerprint: 'b'.repeat(64) })]).allow).toBe(true)
    expect(ask(rules, [person()]).allow).toBe(true)
    // What is not known of it denies.
    expect(ask(rules, [person(), { ...certificate(), claims: {} }]).allow).toBe(false)
  })

  test('is not looked at by a rule that bypasses', () => {
    const bypass = rule({ action: 'bypass', include: [{ path: ['/'] }], exclude: [{ certificate: { ca: 'staff' } }] })
    expect(ask([bypass], [], get('/')).allow).toBe(false)
    expect(checkRules([bypass])).toEqual([expect.stringContaining('is about who asks')])
  })

  test.each([
    [{}, 'exclude[0] is not a selector this version knows'],
    [{ cn: 'x' }, 'is not a selector this version knows'],
    [{ ca: '' }, 'is not a selector this version knows'],
    [{ ca: 7 }, 'is not a selector this version knows'],
    [{ ca: 'Staff' }, '.certificate.ca is not a name that an authority can have'],
    [{ dns: '*.example' }, '.certificate.dns is not one DNS name'],
    [{ dns: 'a.example\0' }, '.certificate.dns is not one DNS name'],
    [{ email: 'ann' }, '.certificate.email is not an email address'],
    [{ ip: '010.0.0.1' }, '.certificate.ip is not an address in its usual spelling'],
    [{ fingerprint: 'AA:BB' }, '.certificate.fingerprint is not a SHA-256'],
    [{ fingerprint: 'A'.repeat(64) }, '.certificate.fingerprint is not a SHA-256'],
  ])('that nobody can show is refused when it is saved: %j', (wanted, wrong) => {
    const saved = checkRules([rule({ include: [{ everyone: true }], exclude: [{ certificate: wanted } as Selector] })])
    expect(saved).toEqual([expect.stringContaining(wrong)])
    expect(letsIn({ certificate: wanted } as Selector, person())).toEqual(UNKNOWN)
  })

  test('as it is wanted may be saved', () => {
    const wanted = {
      ca: 'staff',
      commonName: 'Ann',
      dns: 'build-7',
      email: 'Ann@good.example',
      uri: 'urn:x',
      ip: '::1',
    }
    const include: Selector[] = [{ certificate: { ...wanted, fingerprint: 'a'.repeat(64), issuer: 'CN=x' } }]
    for (const action of ['allow', 'service', 'deny'] as const)
      expect(checkRules([rule({ action, include })])).toEqual([])
  })
})

test('a certificate that nobody looked for is what the rules want of it, and nobody', () => {
  const both = rule({ include: [{ email: 'ann@good.example' }], require: [{ certificate: { ca: 'staff' } }] })
  const deny = rule({ name: 'd', action: 'deny', include: [{ certificate: { ca: 'staff' } }] })
  const facts: Facts = { identities: [person()], now: NOW }
  const applies = (rules: Rule[], asked: Facts) => explain(asked, preparePolicy(rules)).verdicts.map(one => one.applies)
  expect(applies([both, deny], facts)).toEqual(['no', 'no'])
  // In the order of the steps: what denies first.
  const unseen: Facts = { ...facts, certificateUnseen: true }
  expect(applies([both, deny], unseen)).toEqual(['no', 'yes'])
  const others = { certificate: { ca: 'staff', fingerprint: 'b'.repeat(64) } }
  expect(applies([{ ...both, exclude: [others] }], unseen)).toEqual(['yes'])
  expect(applies([rule({ include: [others] }), rule({ action: 'service', include: [others] })], unseen)).toEqual([
    'no',
    'no',
  ])
  const denied = { ...deny, include: [{ email: 'ann@good.example' }] }
  expect(applies([{ ...denied, require: [others] }], unseen)).toEqual(['no'])
  expect(applies([{ ...denied, exclude: [others] }], unseen)).toEqual(['no'])
  expect(applies([{ ...both, include: [{ email: 'bob@good.example' }] }], unseen)).toEqual(['no'])
  expect(ask([both], [person(), certificate()]).allow).toBe(true)
})
