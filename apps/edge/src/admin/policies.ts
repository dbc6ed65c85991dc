import { PosternError } from '@postern/interface'
import { checkRules, type Rule } from '@postern/policy'
import { mustBeApplication, mustBeVersion, saving } from './applications.ts'
import type { Handlers } from './handling.ts'
import { knownIn, readRules } from './rules.ts'

export const POLICIES: Handlers<'policy.put' | 'policy.add' | 'policy.remove'> = {
  'policy.put': (handling, { params: { hostname }, body: { rules, ifVersion } }) =>
    handling.change(snapshot => {
      mustBeVersion(snapshot, ifVersion)
      const before = mustBeApplication(snapshot, hostname)
      const value = { ...before, rules: readRules(rules, knownIn(snapshot, handling)) }
      return saving(value, before, 'policy.put', snapshot, handling)
    }),
  'policy.add': (handling, { params: { hostname }, body }) =>
    handling.change(snapshot => {
      const before = mustBeApplication(snapshot, hostname)
      if (before.rules.some(({ name }) => name === body.rule.name)) throw taken(hostname, body.rule.name)
      const at = body.before === undefined ? before.rules.length : placeOf(hostname, before.rules, body.before)
      const rules = before.rules.toSpliced(at, 0, ...readRules([body.rule], knownIn(snapshot, handling)))
      const [wrong] = checkRules(rules, snapshot.groups)
      if (wrong !== undefined) throw new PosternError('BAD_USAGE', wrong, { speaker: 'edge' })
      return saving({ ...before, rules }, before, 'policy.add', snapshot, handling)
    }),
  'policy.remove': (handling, { params: { hostname }, query: { name } }) =>
    handling.change(snapshot => {
      const before = mustBeApplication(snapshot, hostname)
      const rules = before.rules.toSpliced(placeOf(hostname, before.rules, name), 1)
      return saving({ ...before, rules }, before, 'policy.remove', snapshot, handling)
    }),
}

const MOST_NAMED = 10

/** @throws PosternError NOT_FOUND */
function placeOf(hostname: string, rules: readonly Rule[], name: string): number {
  const at = rules.findIndex(one => one.name === name)
  if (at >= 0) return at
  const names = rules.slice(0, MOST_NAMED).map(one => JSON.stringify(one.name))
  const more = rules.length > names.length ? ` and ${rules.length - names.length} more` : ''
  throw new PosternError('NOT_FOUND', `${hostname} has no rule ${JSON.stringify(name)}`, {
    speaker: 'edge',
    next: names.length > 0 ? `It has: ${names.join(', ')}${more}.` : 'It has no rules.',
  })
}

function taken(hostname: string, name: string): PosternError {
  return new PosternError('ALREADY_EXISTS', `${hostname} has a rule ${JSON.stringify(name)} already`, {
    speaker: 'edge',
    next: 'Give it another name, or take that one away first.',
  })
}
