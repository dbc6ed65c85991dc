// `npm run soak -- policy-decisions`: what one decision costs with many rules over many applications.
import type { Identity } from '@postern/interface'
import { decide, type Facts, type Policy, preparePolicy, type Rule, type Selector } from '../dist/index.js'

export const stated = { rules: 1000, applications: 200, decisions: 200_000 }

const NOW = 1_800_000_000_000

/** Five rules each, of every kind of selector; the one that lets in is the last. */
function rulesOf(application: number, count: number): Rule[] {
  const include: readonly Selector[] = [
    { email: `nobody${application}@example.com` },
    { emailDomain: `team${application}.example` },
    { group: `group${application}` },
    { claim: { name: 'department', in: ['it', 'hr'] } },
    { claim: { name: 'role', matches: `lead-${application}-[a-z]+` } },
    { serviceToken: `pst_${application}` },
  ]
  const require: readonly Selector[] = [{ address: ['10.0.0.0/8', '2001:db8::/32'] }, { path: ['/app/*/view'] }]
  return Array.from({ length: count }, (_, n): Rule => {
    const name = `rule ${n}`
    if (n === count - 1) return { name, action: 'allow', include: [{ everyone: true }], require }
    if (n === 0) return { name, action: 'deny', include: [...include, { address: ['192.0.2.0/24'] }] }
    return { name, action: n % 4 === 0 ? 'service' : 'allow', include, require }
  })
}

const person: Identity = {
  kind: 'user',
  issuer: 'https://idp.example',
  subject: '7',
  email: 'ann@example.com',
  groups: Array.from({ length: 50 }, (_, n) => `other${n}`),
  claims: { department: 'sales', role: 'lead-of-nothing' },
  revokeKeys: [],
}

export default async function decisions(size: Readonly<Record<string, number>>): Promise<Record<string, number>> {
  const { rules = 1000, applications = 200, decisions: most = 200_000 } = size
  const began = performance.now()
  const policies: Policy[] = Array.from({ length: applications }, (_, n) =>
    preparePolicy(rulesOf(n, Math.ceil(rules / applications))),
  )
  const prepareMs = performance.now() - began
  const micros = new Float64Array(most)
  for (let n = 0; n < most; n += 1) {
    // As a request brings them: identities are objects of their own each time.
    const facts: Facts = {
      identities: [{ ...person }],
      now: NOW,
      address: '::ffff:10.1.2.3',
      request: { method: 'GET', path: '/app/reports/view' },
    }
    const policy = policies[n % applications] as Policy
    const start = performance.now()
    const { allow } = decide(facts, policy)
    micros[n] = (performance.now() - start) * 1000
    if (!allow) throw new Error('the last rule lets in')
  }
  micros.sort()
  const at = (share: number) => Number((micros[Math.floor(most * share)] ?? 0).toFixed(2))
  const mean = Number((micros.reduce((sum, one) => sum + one, 0) / most).toFixed(2))
  return { prepareMs: Math.round(prepareMs), meanMicros: mean, p50Micros: at(0.5), p99Micros: at(0.99) }
}
