import { checkRules } from '@postern/policy'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { openApi, ROUTES, type Route } from '../src/index.ts'
import { rules } from '../src/rules.ts'

const all = Object.entries<Route>(ROUTES)

describe('the table of routes', () => {
  test.each(all)('%s names every parameter of its path, and no other', (_name, { path, params }) => {
    const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, one]) => one)
    expect(Object.keys(params?.shape ?? {}).sort()).toEqual(inPath.sort())
  })

  test('no two routes answer the same request', () => {
    const shapes = all.map(([, { method, path }]) => `${method} ${path.replace(/\{\w+\}/g, '{}')}`)
    expect(new Set(shapes).size).toBe(shapes.length)
  })

  test.each(all.filter(([, { method }]) => method !== 'GET'))(
    '%s changes something, so no viewer may call it',
    (_name, { role }) => {
      expect(role).not.toBe('viewer')
    },
  )

  const objects = all.flatMap(([name, { body, query }]) =>
    [body, query].filter(one => one !== undefined).map(one => [name, one] as const),
  )
  test.each(objects)('%s takes no member it does not know', (_name, schema) => {
    const found = schema.safeParse({ surplus: 1 })
    expect(JSON.stringify(found.error?.issues)).toContain('surplus')
  })
})

const text = fc.oneof(fc.constantFrom('', 'ci', 'x'.repeat(64), 'x'.repeat(65)), fc.string({ maxLength: 70 }))
const texts = fc.oneof(fc.array(text, { maxLength: 3 }), fc.constantFrom(['10.0.0.0/8'], ['/api/*'], ['GET'], []))
const scalar = fc.oneof(text, fc.double(), fc.boolean())
const claim = fc.record(
  { name: text, issuer: text, equals: scalar, in: fc.array(scalar, { maxLength: 3 }), matches: text },
  { requiredKeys: [] },
)
const KEYS = ['serviceToken', 'anyServiceToken', 'identity', 'everyone', 'email', 'emailDomain', 'group', 'provider']
const selector = fc.oneof(
  fc.record({ serviceToken: text }),
  fc.record({ anyServiceToken: fc.oneof(fc.constant(true), fc.anything()) }),
  fc.record({ everyone: fc.oneof(fc.constant(true), fc.anything()) }),
  fc.record({ identity: fc.oneof(fc.record({ issuer: text, subject: text }), fc.anything()) }),
  fc.record({ email: fc.oneof(text, fc.constant('ann@example.com')) }),
  fc.record({ emailDomain: fc.oneof(text, fc.constant('example.com')) }),
  fc.record({ group: text }),
  fc.record({ provider: text }),
  fc.record({ claim: fc.oneof(claim, claim, fc.anything()) }),
  fc.constantFrom('address', 'path', 'method').chain(key => fc.record({ [key]: fc.oneof(texts, fc.anything()) })),
  fc.dictionary(fc.constantFrom(...KEYS, 'claim', 'address', 'inGroup', 'country'), fc.anything()),
)
const list = fc.oneof({ weight: 5, arbitrary: fc.array(selector, { maxLength: 3 }) }, fc.anything())
const anyRule = fc.record(
  {
    name: text,
    action: fc.oneof({ weight: 5, arbitrary: fc.constantFrom('allow', 'deny', 'bypass', 'service') }, fc.anything()),
    include: list,
    require: list,
    exclude: list,
    permit: fc.json().map(one => JSON.parse(one) as unknown),
    surplus: fc.anything(),
  },
  { requiredKeys: ['name', 'action', 'include'] },
)

describe('the schema of rules', () => {
  test('lets pass what the policy understands', () => {
    const good = [{ name: 'ci', action: 'allow', include: [{ serviceToken: 'ci' }, { anyServiceToken: true }] }]
    expect(checkRules(good)).toEqual([])
    expect(rules.safeParse(good).success).toBe(true)
  })

  test.each([
    ['allow', 'include', { everyone: true }],
    ['allow', 'include', { email: 'Ann@Example.com' }],
    ['allow', 'include', { emailDomain: 'example.com' }],
    ['allow', 'include', { group: 'ops' }],
    ['allow', 'include', { provider: 'https://idp.example.com' }],
    ['allow', 'include', { identity: { issuer: 'https://idp.example.com', subject: '7' } }],
    ['service', 'include', { claim: { name: 'repository', issuer: 'https://ci.example.com', equals: 'me/it' } }],
    ['allow', 'include', { claim: { name: 'level', in: [3, 4] } }],
    ['allow', 'include', { claim: { name: 'role', matches: 'dev-.*' } }],
    ['allow', 'require', { address: ['10.0.0.0/8', '2001:db8::/32'] }],
    ['bypass', 'include', { path: ['/health', '/.well-known/*'] }],
    ['bypass', 'include', { method: ['GET', 'HEAD'] }],
  ])('and the policy both take, in a rule that is to %s, under %s: %j', (action, list, selector) => {
    const good = [{ name: 'r', action, include: [], [list]: [selector] }]
    expect(checkRules(good)).toEqual([])
    expect(rules.safeParse(good).success).toBe(true)
  })

  /** What the schema leaves to the policy: what a rule means beyond its shape. */
  const MEANT = /it permits nothing|^rule 1: (include|require|exclude)\[\d+\]\.\w+[ [](?!is not a selector)/

  test('accepts no rule that is out of shape for the policy', () => {
    let accepted = 0
    fc.assert(
      fc.property(anyRule, one => {
        const wrong = checkRules([one])
        if (!rules.safeParse([one]).success) return
        accepted += 1
        expect(wrong.filter(why => !MEANT.test(why))).toEqual([])
      }),
      { numRuns: 5000 },
    )
    expect(accepted).toBeGreaterThan(10) // 60 on average
  })
})

describe('the OpenAPI document', () => {
  const document = openApi('1.2.3') as {
    paths: Record<string, Record<string, unknown>>
    components: { schemas: object }
  }

  test('has every route once', () => {
    const operations = Object.entries(document.paths).flatMap(([, methods]) => Object.keys(methods))
    expect(operations).toHaveLength(all.length)
  })

  test('points only to schemas that it has', () => {
    const refs = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)].map(([, ref]) => ref ?? '')
    expect(refs.length).toBeGreaterThan(5)
    for (const ref of new Set(refs)) {
      expect(ref).toMatch(/^#\/components\/schemas\//)
      expect(document.components.schemas).toHaveProperty(ref.split('/').at(-1) ?? '')
    }
  })
})
