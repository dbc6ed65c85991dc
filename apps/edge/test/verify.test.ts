import { type AuthVerifier, type Call, type Identity, PosternError } from '@postern/interface'
import { describe, expect, test } from 'vitest'
import { FailureCounter, MOST_FAILURES } from '../src/authorize/attempts.ts'
import { verifyAll } from '../src/authorize/verify.ts'

const quiet = { debug() {}, info() {}, warn() {}, error() {} }
const call: Call = { signal: new AbortController().signal, log: quiet }
const presented = { method: 'GET', url: '/', headers: {}, remoteAddress: '127.0.0.1' }
const identity: Identity = { kind: 'user', issuer: 'https://idp', subject: 'ann', claims: {}, revokeKeys: ['user:ann'] }
const good: AuthVerifier = { verify: async () => ({ identity }) }
const saying = (value: unknown): AuthVerifier => ({ verify: async () => value as never })
const verify = (verifier: AuthVerifier, deadline = 5000) =>
  verifyAll(
    [
      { name: 'good', verifier: good },
      { name: 'odd', verifier },
    ],
    presented,
    call,
    deadline,
  )

test('an honest verifier is believed, and one whose scheme was not presented is as if absent', async () => {
  expect(await verify(saying(undefined))).toEqual({ identities: [identity], challenge: {} })
  expect(
    await verify(
      saying({ identity: { ...identity, email: 'a@b', groups: ['x'], expiresAt: 5, claims: { a: [null] } } }),
    ),
  ).toMatchObject({
    identities: [identity, { email: 'a@b' }],
  })
  expect(await verify(saying({ challenge: { 'www-authenticate': 'Negotiate' } }))).toEqual({
    identities: [identity],
    challenge: { 'www-authenticate': ['Negotiate'] },
  })
})

describe('row 113: whatever else a verifier does denies, and names it', () => {
  const throwing = (error: unknown) => () => {
    throw error
  }
  const nonsense: [string, AuthVerifier][] = [
    ['throws at once', { verify: throwing(new Error('boom')) }],
    ['throws no error', { verify: throwing(null) }],
    [
      'throws what throws',
      {
        verify: throwing({
          get code() {
            throw new Error('x')
          },
          toString: throwing(1),
        }),
      },
    ],
    ['rejects', { verify: () => Promise.reject(new Error('boom')) }],
    [
      'rejects with a code that is not its to use',
      { verify: () => Promise.reject(new PosternError('NOT_FOUND', 'x')) },
    ],
    ['returns no promise', { verify: (() => ({ identity })) as never }],
    ['returns undefined, and no promise', { verify: (() => undefined) as never }],
    // biome-ignore lint/suspicious/noThenProperty: it is what is tried here
    ['returns a thenable', { verify: (() => ({ then: (done: (v: unknown) => void) => done({ identity }) })) as never }],
    ['says null', saying(null)],
    ['says true', saying(true)],
    ['says "true"', saying('true')],
    ['says {allow: 1}', saying({ allow: 1 })],
    ['says []', saying([])],
    ['says {}', saying({})],
    ['says a function', saying(() => ({ identity }))],
    ['says a Proxy', saying(new Proxy({ identity }, {}))],
    ['hides a Proxy', saying({ identity: new Proxy(identity, {}) })],
    [
      'has a getter that throws',
      saying({
        get identity() {
          throw new Error('x')
        },
      }),
    ],
    ['says two things', saying({ identity, challenge: {} })],
    ['says more', saying({ identity, allow: true })],
    ['has an identity without a subject', saying({ identity: { ...identity, subject: '' } })],
    ['has an identity of another kind', saying({ identity: { ...identity, kind: 'admin' } })],
    ['has an identity without claims', saying({ identity: { ...identity, claims: undefined } })],
    ['has claims that are no JSON', saying({ identity: { ...identity, claims: { at: new Date() } } })],
    ['has claims in a circle', saying({ identity: { ...identity, claims: circle() } })],
    ['has claims with a function', saying({ identity: { ...identity, claims: { at: () => 1 } } })],
    ['hides a Proxy deep in its claims', saying({ identity: { ...identity, claims: { at: [new Proxy({}, {})] } } })],
    ['inherits its identity', saying(Object.create({ identity }))],
    ['has an expiry that is no number', saying({ identity: { ...identity, expiresAt: '9e9' } })],
    ['has an expiry that is NaN', saying({ identity: { ...identity, expiresAt: Number.NaN } })],
    ['has revoke keys that are no list', saying({ identity: { ...identity, revokeKeys: 'all' } })],
    ['has an unknown member', saying({ identity: { ...identity, admin: true } })],
    ['has a huge identity', saying({ identity: { ...identity, subject: 'x'.repeat(10_000) } })],
    ['claims to be a service token', saying({ identity: { ...identity, issuer: 'postern:service-token' } })],
    ['challenges with a header that is none', saying({ challenge: { 'a b': 'x' } })],
    ['challenges with a line break', saying({ challenge: { a: 'x\r\nset-cookie: y' } })],
    ['challenges with a number', saying({ challenge: { a: 1 } })],
  ]
  test('but what it says may be called anything: it is data, and stays that', async () => {
    const claims: unknown = JSON.parse('{"__proto__":{"admin":true},"at":{"constructor":[1,null]}}')
    const said = await verify(saying({ identity: { ...identity, claims } }))
    expect(JSON.stringify(said)).toContain('"claims":{"__proto__":{"admin":true},"at":{"constructor":[1,null]}}')
  })
  test.each(nonsense)('%s', async (_, verifier) => {
    expect(await verify(verifier)).toMatchObject({ refused: 'PLUGIN_FAILED', by: 'odd', cause: expect.any(String) })
  })

  test('never resolves: a deny after its deadline, and it is told to stop', async () => {
    let told: AbortSignal | undefined
    const hangs: AuthVerifier = {
      verify: (_, inner) => {
        told = inner.signal
        return new Promise(() => {})
      },
    }
    expect(await verify(hangs, 50)).toMatchObject({ refused: 'PLUGIN_FAILED', by: 'odd' })
    expect(told?.aborted).toBe(true)
  })

  test('rejects after its deadline: nobody is surprised', async () => {
    const late: AuthVerifier = {
      verify: (_, { signal }) =>
        new Promise((_r, reject) =>
          signal.addEventListener('abort', () => setImmediate(() => reject(new Error('late')))),
        ),
    }
    expect(await verify(late, 20)).toMatchObject({ refused: 'PLUGIN_FAILED' })
    await new Promise(resolve => setImmediate(() => setImmediate(resolve)))
  })

  function circle(): object {
    const claims: Record<string, unknown> = {}
    claims.self = claims
    return claims
  }
})

test.each(['AUTH_REJECTED', 'TOKEN_EXPIRED', 'TOKEN_REVOKED', 'RATE_LIMITED', 'BAD_USAGE'] as const)(
  '%s denies, whoever else agrees',
  async code => {
    expect(await verify({ verify: () => Promise.reject(new PosternError(code, 'x')) })).toEqual({
      refused: code,
      by: 'odd',
    })
  },
)

test('a presentation that is malformed is told before one that is wrong', async () => {
  const both = ['AUTH_REJECTED', 'BAD_USAGE'] as const
  const verifiers = both.map(code => ({
    name: code,
    verifier: { verify: () => Promise.reject(new PosternError(code, 'x')) },
  }))
  expect(await verifyAll(verifiers, presented, call)).toEqual({ refused: 'BAD_USAGE', by: 'BAD_USAGE' })
})

describe('failures', () => {
  test('are counted per key, forgotten after a minute, and bounded', async () => {
    let now = 0
    const counter = new FailureCounter(() => now)
    for (let n = 0; n < MOST_FAILURES; n += 1) {
      expect(await counter.of('p').allow('a')).toBe(true)
      await counter.of('p').failed('a')
    }
    expect(await counter.of('p').allow('a')).toBe(false)
    expect(await counter.of('p').allow('b')).toBe(true)
    expect(await counter.of('q').allow('a')).toBe(true)
    now = 60_000
    expect(await counter.of('p').allow('a')).toBe(true)
    for (let n = 0; n < MOST_FAILURES; n += 1) counter.count('kept')
    for (let n = 0; n < 10_000; n += 1) counter.count(`${n}`)
    expect(counter.isOver('kept')).toBe(false)
  })
})
