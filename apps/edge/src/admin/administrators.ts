import { type Identity, PosternError } from '@postern/interface'
import { checkRules, decide, type Groups, preparePolicy, type Selector } from '@postern/policy'
import type { Snapshot } from '@postern/store'
import { administratorsOf } from './records.ts'

/**
 * Whether somebody who is signed in administers, by the same evaluator that lets into applications.
 *
 * @param now milliseconds since the epoch
 */
export function isAdministrator(identity: Identity, snapshot: Snapshot, now: number): boolean {
  const include = administratorsOf(snapshot)
  if (identity.kind !== 'user' || include.length === 0) return false
  const rules = [{ name: 'administrators', action: 'allow' as const, include }]
  return decide({ identities: [identity], now }, preparePolicy(rules, snapshot.groups)).allow
}

/** @throws PosternError BAD_USAGE: selectors that mean no person */
export function checkAdministrators(include: readonly Selector[], groups: Groups): void {
  const machine = include.findIndex(one => 'serviceToken' in one || 'anyServiceToken' in one || 'certificate' in one)
  if (machine >= 0) throw badUsage(`administrators[${machine}] is about machines; people administer in the browser`)
  const [wrong] = checkRules([{ name: 'administrators', action: 'allow', include }], groups)
  if (wrong !== undefined) throw badUsage(wrong.replace(/^rule 1: include/, 'administrators'))
}

function badUsage(message: string): PosternError {
  return new PosternError('BAD_USAGE', message, { speaker: 'edge' })
}
