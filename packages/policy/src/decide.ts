import type { Json } from '@postern/interface'
import { type Answer, currentOf, type Facts, type View, viewsOf } from './facts.ts'
import type { Policy, PreparedRule, PreparedSelector } from './prepare.ts'
import type { Action } from './rule.ts'

export interface Decision {
  readonly allow: boolean
  /** The rule that decided; absent when no rule did, which is a deny. */
  readonly rule?: string
  /** What that rule does. `bypass`: let in, and nobody was looked at. */
  readonly action?: Action
  /** What the deciding rule lets a protocol do; null otherwise. */
  readonly permit: Json
  /**
   * Nobody is identified, or by nothing but certificates; nothing denied, and a person who signs in might be let in. Otherwise nobody
   * is to be sent to sign in.
   */
  readonly signIn: boolean
  /** A sentence per thing that was looked at, in the order it was. For administrators and the audit log, not for strangers. */
  readonly reasons: readonly string[]
}

/** What one rule says of the facts. */
export interface Verdict {
  readonly rule: string
  readonly action: Action
  /** `unknown`: it cannot be decided, which lets nobody in, and denies where the rule does. */
  readonly applies: Answer
  readonly why: string
}

/** In this order. Within a step rules come in their own. */
const STEPS: readonly (readonly Action[])[] = [['deny'], ['bypass'], ['allow', 'service']]

/**
 * Decides. Nobody is let in unless a rule says so.
 *
 * 1. Identities that have expired are left out.
 * 2. `deny` rules: the first that applies, or that cannot be decided, denies.
 * 3. `bypass` rules, for a single HTTP request: the first that applies for certain lets in.
 * 4. `allow` and `service` rules, in the order they stand in: the first that applies for certain lets in.
 * 5. Otherwise: deny.
 *
 * A rule applies when any of `include` matches, all of `require` and none of `exclude`. What cannot be decided (a fact that is
 * missing, an unknown selector, a malformed rule) never helps anybody in: it does not match an include, fails a require, matches
 * an exclude, and a deny rule that hangs on it denies.
 */
export function decide(facts: Facts, { rules }: Policy): Decision {
  const reasons: string[] = []
  const present = currentOf(facts, why => reasons.push(why))
  if (rules === undefined) return deny([...reasons, 'a rule is malformed, so nothing can be decided'])
  const views = viewsOf(facts, present)
  for (const step of STEPS) {
    for (const one of rules) {
      const { name, action, permit } = one.rule
      if (!step.includes(action)) continue
      const { applies, why } = verdictOf(one, views(action))
      reasons.push(one.label + why)
      if (action === 'deny' && applies !== 'no') return { ...deny(reasons), rule: name, action }
      if (action !== 'deny' && applies === 'yes')
        return { allow: true, rule: name, action, permit: permit ?? null, signIn: false, reasons }
    }
  }
  reasons.push(rules.length === 0 ? 'there are no rules' : 'no rule lets in')
  const isUnknown = present.every(({ kind }) => kind === 'certificate')
  return { ...deny(reasons), signIn: isUnknown && rules.some(one => mightLetIn(one, views('allow'))) }
}

/** The same, with what every rule says, also those that were not needed; in the order in which rules are looked at. */
export function explain(
  facts: Facts,
  policy: Policy,
): { readonly decision: Decision; readonly verdicts: readonly Verdict[] } {
  const views = viewsOf(
    facts,
    currentOf(facts, () => {}),
  )
  const rules = policy.rules ?? []
  const verdicts = STEPS.flatMap(step =>
    rules.filter(({ rule }) => step.includes(rule.action)).map(one => verdictOf(one, views(one.rule.action))),
  )
  return { decision: decide(facts, policy), verdicts }
}

function deny(reasons: readonly string[]): Decision {
  return { allow: false, permit: null, signIn: false, reasons }
}

function verdictOf({ rule, lists }: PreparedRule, view: View): Verdict {
  const [applies, why] = judge(rule.action, lists, view)
  return { rule: rule.name, action: rule.action, applies, why }
}

function judge(
  action: Action,
  { include, require, exclude }: PreparedRule['lists'],
  view: View,
): readonly [Answer, string] {
  if (action === 'bypass' && view.request.method === undefined) return ['no', 'it is no single HTTP request']
  let open: PreparedSelector | undefined
  let included: Answer = 'no'
  for (const one of include) {
    const answer = one.test(view)
    if (answer === 'yes') {
      included = 'yes'
      break
    }
    if (answer === 'unknown' && included === 'no') {
      included = 'unknown'
      open = one
    }
  }
  if (included === 'no') return ['no', notIncluded(action, view)]
  if (included === 'yes') open = undefined
  for (const one of require) {
    const answer = one.test(view)
    if (answer === 'no') return ['no', `${one.text} is not met`]
    if (answer === 'unknown') open ??= one
  }
  for (const one of exclude) {
    const answer = one.test(view)
    if (answer === 'yes') return ['no', `${one.text} matches`]
    if (answer === 'unknown') open ??= one
  }
  return open === undefined ? ['yes', 'applies'] : ['unknown', `${open.text} cannot be decided: ${open.untold}`]
}

function notIncluded(action: Action, { named, people, certificates }: View): string {
  if ((action === 'allow' || action === 'service') && !certificates?.length) {
    if (named.length === 0) return action === 'service' ? 'no service is identified' : 'nobody is identified'
    if (action === 'allow' && people.length === 0) return 'not included; services are by token or identity only'
  }
  return 'not included'
}

/** Whether a rule might let in a person who is yet to sign in: what is known of the request is not against it. */
function mightLetIn({ rule, lists: { include, require, exclude } }: PreparedRule, view: View): boolean {
  if (rule.action !== 'allow' || !include.some(one => one.isAboutPeople)) return false
  return (
    require.every(one => one.isAboutPeople || one.test(view) === 'yes') &&
    exclude.every(one => one.isAboutPeople || one.test(view) === 'no')
  )
}
