import type { Identity, Json } from '@postern/interface'
import { isRecord, isSelector, type Rule, type Selector } from './rule.ts'

/** Issuer of the identities that the service-token verifier makes. */
const SERVICE_TOKENS = 'postern:service-token'

/** All a decision may depend on. The same facts and rules give the same decision. */
export interface Facts {
  /** Everything the verifiers made of what was presented. */
  readonly identities: readonly Identity[]
  /** Milliseconds since the epoch: an identity that has expired by then is as if absent. */
  readonly now: number
}

export interface Decision {
  readonly allow: boolean
  /** The rule that decided; absent when no rule did, which is a deny. */
  readonly rule?: string
  /** What the deciding allow rule lets a protocol do; null otherwise. */
  readonly permit: Json
  /** A sentence per thing that was looked at, in the order it was. For administrators and the audit log, not for strangers. */
  readonly reasons: readonly string[]
}

/** `unknown`: the selector cannot be decided. It never helps anybody in. */
type Answer = 'yes' | 'no' | 'unknown'

/**
 * Decides. Nobody is let in unless a rule says so.
 *
 * 1. Identities that have expired are left out.
 * 2. Deny rules, in order: the first that applies, or that cannot be decided, denies.
 * 3. Allow rules, in order: the first that applies for certain allows.
 * 4. Otherwise: deny.
 *
 * What cannot be decided (an unknown selector, a malformed rule) never helps anybody in: it does not match an include, fails a
 * require, matches an exclude, and a deny rule that hangs on it denies.
 */
export function decide(facts: Facts, rules: readonly Rule[]): Decision {
  const reasons: string[] = []
  const present = facts.identities.filter(identity => isCurrent(identity, facts.now, reasons))
  const read = rules.map(readRule)
  if (read.includes(undefined)) return deny([...reasons, 'a rule is malformed, so nothing can be decided'])
  for (const action of ['deny', 'allow'] as const) {
    for (const rule of read) {
      if (rule?.action !== action) continue
      const [answer, why] = applies(rule, present)
      reasons.push(`${rule.action} rule ${JSON.stringify(rule.name)}: ${why}`)
      if (action === 'deny' && answer !== 'no') return deny(reasons, rule.name)
      if (action === 'allow' && answer === 'yes') {
        return { allow: true, rule: rule.name, permit: rule.permit ?? null, reasons }
      }
    }
  }
  return deny([...reasons, rules.length === 0 ? 'there are no rules' : 'no allow rule applies'])
}

function deny(reasons: readonly string[], rule?: string): Decision {
  return { allow: false, permit: null, reasons, ...(rule !== undefined && { rule }) }
}

function isCurrent(identity: Identity, now: number, reasons: string[]): boolean {
  const { expiresAt } = identity
  // Not `<=`: an expiry that is no number has passed.
  if (expiresAt === undefined || expiresAt > now) return true
  reasons.push(`${nameOf(identity)} has expired`)
  return false
}

/** A rule as far as it can be trusted; undefined when it has not the shape of one. */
function readRule(rule: Rule): Rule | undefined {
  const value: unknown = rule
  if (!isRecord(value) || typeof value.name !== 'string') return undefined
  if (value.action !== 'allow' && value.action !== 'deny') return undefined
  const lists = [value.include, value.require ?? [], value.exclude ?? []]
  return lists.every(Array.isArray) ? rule : undefined
}

/** Whether a rule applies, with the reason in words. */
function applies(rule: Rule, present: readonly Identity[]): [Answer, string] {
  const included = anyOf(rule.include, present)
  if (included === 'no') return ['no', present.length === 0 ? 'nobody is identified' : 'not included']
  const required = allOf(rule.require ?? [], present)
  if (required === 'no') return ['no', 'a requirement is not met']
  const excluded = anyOf(rule.exclude ?? [], present)
  if (excluded === 'yes') return ['no', 'excluded']
  if (included === 'yes' && required === 'yes' && excluded === 'no') return ['yes', 'applies']
  return ['unknown', 'cannot be decided: it has a selector this version does not know']
}

function anyOf(selectors: readonly Selector[], present: readonly Identity[]): Answer {
  const answers = selectors.map(selector => matches(selector, present))
  if (answers.includes('yes')) return 'yes'
  return answers.includes('unknown') ? 'unknown' : 'no'
}

function allOf(selectors: readonly Selector[], present: readonly Identity[]): Answer {
  const answers = selectors.map(selector => matches(selector, present))
  if (answers.includes('no')) return 'no'
  return answers.includes('unknown') ? 'unknown' : 'yes'
}

function matches(selector: Selector, present: readonly Identity[]): Answer {
  if (!isSelector(selector)) return 'unknown'
  return present.some(identity => isMeant(selector, identity)) ? 'yes' : 'no'
}

function isMeant(selector: Selector, { kind, issuer, subject }: Identity): boolean {
  if ('identity' in selector) return issuer === selector.identity.issuer && subject === selector.identity.subject
  if (kind !== 'service' || issuer !== SERVICE_TOKENS) return false
  return 'anyServiceToken' in selector || subject === selector.serviceToken
}

function nameOf({ issuer, subject }: Identity): string {
  return `${issuer} ${subject}`
}
