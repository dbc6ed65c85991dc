import { type Facts, type Groups, type Policy, preparePolicy, type Rule } from '@postern/policy'
import type { ApplicationRecord, Snapshot } from '@postern/store'
import type { Asked } from './authorize.ts'

const PREPARED = new WeakMap<readonly Rule[], { readonly groups: Groups; readonly policy: Policy }>()

/** An application's rules, read once for as long as they and the groups they may name are the same. */
export function policyOf({ rules }: Pick<ApplicationRecord, 'rules'>, { groups }: Pick<Snapshot, 'groups'>): Policy {
  const known = PREPARED.get(rules)
  if (known?.groups === groups) return known.policy
  const policy = preparePolicy(rules, groups)
  PREPARED.set(rules, { groups, policy })
  return policy
}

/** What a policy may know of what is asked. The path of an upgrade is the transport's, so it is none of the application's. */
export function requestFacts({ purpose, presented }: Asked): Pick<Facts, 'address' | 'request'> {
  const { remoteAddress: address, method, url } = presented
  if (purpose !== 'http') return { address }
  const [path = ''] = url.split('?', 1)
  return { address, request: { method, path } }
}
