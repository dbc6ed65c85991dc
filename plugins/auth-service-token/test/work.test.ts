import type { Call, EdgeHost, Json } from '@postern/interface'
import * as tokens from '@postern/tokens'
import { expect, test, vi } from 'vitest'
import edge from '../src/edge.ts'

vi.mock('@postern/tokens', async original => {
  const real = await original<typeof tokens>()
  return { ...real, verifySecret: vi.fn(real.verifySecret) }
})

const quiet = { debug() {}, info() {}, warn() {}, error() {} }
const call: Call = { signal: new AbortController().signal, log: quiet }
const token = tokens.createServiceToken()
const other = tokens.createServiceToken()
const row = (more: Record<string, Json> = {}): Json => ({ name: 'ci', hash: token.hash, ...more })

/** Comparisons are the only work that depends on what is presented; each takes the same time (@postern/tokens). */
async function comparisons(id: string, secret: string, value: Json | undefined): Promise<number> {
  const host = {
    records: { get: async () => value },
    attempts: { allow: async () => true, failed: async () => {} },
  } as unknown as EdgeHost
  vi.mocked(tokens.verifySecret).mockClear()
  const headers = { 'postern-client-id': [id], 'postern-client-secret': [secret] }
  const verifier = await edge.create({}, host)
  await verifier.verify({ method: 'GET', url: '/', headers, remoteAddress: '192.0.2.1' }, call).catch(() => {})
  return vi.mocked(tokens.verifySecret).mock.calls.length
}

test.each<[string, string, string, Json | undefined]>([
  ['the right secret', token.id, token.secret, row()],
  ['a wrong secret', token.id, other.secret, row()],
  ['an unknown id', token.id, other.secret, undefined],
  ['an id of no form', 'x', other.secret, undefined],
  ['a wrong secret while one is replaced', token.id, 'x', row({ previous: { hash: other.hash, expiresAt: 1 } })],
  ['the former secret', token.id, other.secret, row({ previous: { hash: other.hash, expiresAt: 1 } })],
  ['a revoked token', token.id, token.secret, row({ revokedAt: 1 })],
  ['a record that cannot be read', token.id, token.secret, { hash: 1 }],
])('row 97: %s takes the same work', async (_name, id, secret, value) => {
  expect(await comparisons(id, secret, value)).toBe(2)
})
