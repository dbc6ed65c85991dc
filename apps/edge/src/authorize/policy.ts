import { type Facts, type Policy, preparePolicy, type Rule } from '@postern/policy'
import type { ApplicationRecord } from '@postern/store'
import type { Asked } from './authorize.ts'

const PREPARED = new WeakMap<readonly Rule[], Policy>()

/** An application's rules, read once for as long as they are the same. */
export function policyOf({ rules }: Pick<ApplicationRecord, 'rules'>): Policy {
  const known = PREPARED.get(rules)
  if (known !== undefined) return known
  const policy = preparePolicy(rules)
  PREPARED.set(rules, policy)
  return policy
}

/** What a policy may know of what is asked. The path of an upgrade is the transport's, so it is none of the application's. */
export function requestFacts({ purpose, presented }: Asked): Pick<Facts, 'address' | 'request'> {
  const { remoteAddress: address, method, url } = presented
  if (purpose !== 'plain' && purpose !== 'http') return { address }
  const [path = ''] = url.split('?', 1)
  return { address, request: { method, path } }
}
