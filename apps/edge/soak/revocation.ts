// `npm run soak -- edge-revocation`: what a request with a client certificate costs its verifier, with nobody revoked and with many,
// through what the edge lends its plugins. Both are measured in turn, so that a busy machine is busy for both.
import { X509Certificate } from 'node:crypto'
import type { Call, Json, Presented } from '@postern/interface'
import { createAuthority, issueCertificate, makeKey, publicKeyOf } from '@postern/pki'
import { createRegistry } from '@postern/registry'
import type { Store } from '@postern/store'
import { FailureCounter } from '../dist/authorize/attempts.js'
import { builtins } from '../dist/builtin.js'
import { startPlugins } from '../dist/plugins.js'

/** Serials that were revoked here, and as many in the CA’s own list; rounds of a thousand requests each. */
export const stated = { revoked: 100_000, rounds: 200 }

const ID = '00112233445566aa'
const REQUESTS = 1000
const log = { debug() {}, info() {}, warn() {}, error() {} }
const call: Call = { signal: AbortSignal.timeout(600_000), log }

type Ask = () => Promise<void>

export default async function revocation(size: Readonly<Record<string, number>>): Promise<Record<string, number>> {
  const { revoked = stated.revoked, rounds = stated.rounds } = size
  const ca = await createAuthority({ commonName: 'Soak', days: 2 })
  const { cert } = await issueCertificate(ca, {
    publicKey: publicKeyOf(await makeKey()),
    san: [{ type: 'email', value: 'ann@example.com' }],
    seconds: 86_400,
    usage: 'client',
  })
  const shown = { peerCertificate: derOf(cert), peerCertificateChain: [derOf(ca.cert)] }
  const record = {
    name: 'soak',
    certificates: [ca.cert],
    rules: [],
    leafSeconds: 86_400,
    renewSeconds: 0,
    createdAt: 0,
  }
  const serials = Array.from({ length: revoked }, (_, n) => (2n ** 126n + BigInt(n)).toString(16))
  const few = await verifier(new Map<string, Json>([[`ca.${ID}`, record]]), shown)
  const many = await verifier(
    new Map<string, Json>([
      [`ca.${ID}`, record],
      [`crl.${ID}`, { thisUpdate: 0, nextUpdate: Date.now() + 86_400_000, serials }],
      ...serials.map(serial => [`revoked.${ID}.${serial}`, { at: 0 }] as const),
    ]),
    shown,
  )
  await micros(few)
  await micros(many)
  const [without, withMany, more]: [number[], number[], number[]] = [[], [], []]
  for (let round = 0; round < rounds; round += 1) {
    const first = round % 2 === 0 ? few : many
    const one = await micros(first)
    const other = await micros(first === few ? many : few)
    without.push(first === few ? one : other)
    withMany.push(first === few ? other : one)
    more.push((withMany.at(-1) ?? 0) - (without.at(-1) ?? 0))
  }
  return {
    verifyMicros: middle(without),
    verifyMicrosWithManyRevoked: middle(withMany),
    revocationMicros: middle(more),
  }
}

/** The verifier as an edge starts it, over rows that are there; it rejects unless it knows whose certificate it is. */
async function verifier(rows: ReadonlyMap<string, Json>, shown: Partial<Presented>): Promise<Ask> {
  const store = { snapshot: { records: new Map([['mtls', rows]]) } } as unknown as Store
  const registry = createRegistry(builtins.filter(({ entry }) => entry.name === 'mtls'))
  const keys = { jwks: () => ({ keys: [] }), issuer: 'https://edge.localhost' }
  const { access } = await startPlugins(registry, store, new FailureCounter(), { keys, fetch }, call)
  return async () => {
    // As a request brings it: an object of its own, the certificate its connection’s.
    const presented = {
      method: 'GET',
      url: '/',
      headers: { host: ['a.localhost'] },
      remoteAddress: '192.0.2.1',
      ...shown,
    }
    const found = await access[0]?.verifier.verify(presented, call)
    if (!found || !('identity' in found)) throw new Error('nobody')
  }
}

/** Of one request, over a thousand. */
async function micros(ask: Ask): Promise<number> {
  const start = performance.now()
  for (let n = 0; n < REQUESTS; n += 1) await ask()
  return ((performance.now() - start) * 1000) / REQUESTS
}

function derOf(pem: string): Uint8Array {
  return new Uint8Array(new X509Certificate(pem).raw)
}

function middle(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return Number((sorted[sorted.length >> 1] ?? Number.NaN).toFixed(2))
}
