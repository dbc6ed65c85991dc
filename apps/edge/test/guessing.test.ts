import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Presented } from '@postern/interface'
import { createRegistry } from '@postern/registry'
import { openStore, type Store } from '@postern/store'
import { createServiceToken, createTunnelToken } from '@postern/tokens'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { seed } from '../src/admin/seed.ts'
import { FailureCounter } from '../src/authorize/attempts.ts'
import { Authorizer } from '../src/authorize/authorize.ts'
import { builtins } from '../src/builtin.ts'
import { guardedFetch } from '../src/guarded-fetch.ts'
import { Origins } from '../src/origins.ts'
import { startPlugins } from '../src/plugins.ts'
import { Sessions } from '../src/sign-in/sessions.ts'
import { call, quiet } from './world.ts'

const GUESSES = 10_000

let folder: string
let stack: AsyncDisposableStack
let store: Store
let authorizer: Authorizer
let failures: FailureCounter
let right: { readonly access: Record<string, string>; readonly connector: Record<string, string> }
beforeEach(async () => {
  stack = new AsyncDisposableStack()
  folder = await mkdtemp(join(tmpdir(), 'postern-guessing-'))
  store = stack.use(await openStore({ path: join(folder, 'edge.db') }, call))
  const made = await seed(store, { hostname: 'db.localhost', tunnel: 'home', teamDomain: 'edge.localhost' })
  failures = new FailureCounter()
  const origins = new Origins('edge.localhost', () => 443)
  const sessions = stack.use(new Sessions(store, quiet))
  const lent = { keys: { jwks: () => ({ keys: [] }), issuer: origins.team }, fetch: guardedFetch() }
  const { access, connectors } = stack.use(await startPlugins(createRegistry(builtins), store, failures, lent, call))
  authorizer = new Authorizer({ store, teamDomain: 'edge.localhost', access, connectors, failures, origins, sessions })
  const { id, secret } = made.serviceToken
  right = {
    access: { 'postern-client-id': id, 'postern-client-secret': secret },
    connector: { 'postern-tunnel-token': made.tunnelToken },
  }
})
afterEach(async () => {
  await stack.disposeAsync()
  await rm(folder, { recursive: true })
})

type Way = 'access' | 'connector'

const WRONG: Record<Way, (n: number) => Record<string, string>> = {
  // Of a token that is there, and of one that is not.
  access: n => ({
    'postern-client-id': n % 2 === 0 ? String(right.access['postern-client-id']) : createServiceToken().id,
    'postern-client-secret': `psts_${n}`.padEnd(48, 'A'),
  }),
  connector: n => ({ 'postern-tunnel-token': createTunnelToken(n % 2 === 0 ? 'home' : `t${n}`).token }),
}

/** @returns the code of the refusal, or `in` */
async function knock(way: Way, headers: Record<string, string>, remoteAddress: string): Promise<string> {
  const host = way === 'access' ? 'db.localhost' : 'edge.localhost'
  const received = Object.entries({ host, ...headers }).map(([name, value]) => [name, [value]])
  const presented: Presented = { method: 'GET', url: '/', headers: Object.fromEntries(received), remoteAddress }
  const outcome =
    way === 'access'
      ? await authorizer.access({ purpose: 'session', presented }, call)
      : await authorizer.connector({ purpose: 'connector', presented }, call)
  return 'refused' in outcome ? outcome.refused.problem.code : 'in'
}

/** Every thousandth visitor is the right one, from the guesser's own address. */
async function guess(way: Way, addressOf: (n: number) => string): Promise<Map<string, number>> {
  const counted = new Map<string, number>()
  for (let n = 0; n < GUESSES; n += 1) {
    const code = await knock(way, WRONG[way](n), addressOf(n))
    counted.set(code, (counted.get(code) ?? 0) + 1)
    if (n % 1000 === 999) expect(await knock(way, right[way], addressOf(n))).toBe('in')
  }
  return counted
}

const ways: Way[] = ['access', 'connector']

describe.each(ways)('row 97: ten thousand wrong secrets (%s)', way => {
  test('of one address: slowed after 60, a row each for the first 600 only, and the right one is let in throughout', async () => {
    const apply = vi.spyOn(store, 'apply')
    const audit = vi.spyOn(store, 'audit')
    const { version } = store.snapshot
    const counted = await guess(way, () => '192.0.2.1')
    expect(counted).toEqual(
      new Map([
        ['AUTH_REJECTED', 60],
        ['RATE_LIMITED', GUESSES - 60],
      ]),
    )
    // Nothing is written for a failure but these rows, which go in groups; ten are of who was let in.
    expect(apply).not.toHaveBeenCalled()
    expect(store.snapshot.version).toBe(version)
    expect(audit.mock.calls.filter(([entry]) => entry.allowed === false)).toHaveLength(600 + (GUESSES - 600) / 100)
    expect(audit.mock.calls.filter(([entry]) => entry.allowed === true)).toHaveLength(10)
    // Somebody else’s address is not slowed: a mistake there is told as one.
    expect(await knock(way, WRONG[way](0), '192.0.2.2')).toBe('AUTH_REJECTED')
    expect(await knock(way, right[way], '192.0.2.2')).toBe('in')
  })

  test('of a thousand addresses: each is told no, few leave a row, memory stays bounded, and the right one is let in', async () => {
    const audit = vi.spyOn(store, 'audit')
    const counted = await guess(way, n => `10.0.${(n % 1000) >> 8}.${(n % 1000) & 255}`)
    expect(counted).toEqual(new Map([['AUTH_REJECTED', GUESSES]]))
    const refused = audit.mock.calls.filter(([entry]) => entry.allowed === false)
    expect(refused.length).toBeLessThanOrEqual(6000 + (GUESSES - 6000) / 100)
    expect(failures.size).toBeLessThanOrEqual(10_000)
    for (const address of ['10.0.0.0', '203.0.113.9']) expect(await knock(way, right[way], address)).toBe('in')
  })

  test('of one IPv6 household’s addresses: slowed as one', async () => {
    const codes = new Set<string>()
    for (let n = 0; n < 200; n += 1) codes.add(await knock(way, WRONG[way](n), `2001:db8:0:1::${n.toString(16)}`))
    expect(codes).toContain('RATE_LIMITED')
    expect(await knock(way, right[way], '2001:db8:0:1::1')).toBe('in')
    expect(await knock(way, WRONG[way](0), '2001:db8:0:2::1')).toBe('AUTH_REJECTED')
  })
})
