import type { Json } from '@postern/interface'

/**
 * Who or what a rule speaks of. One member each; a selector with none, several or an unknown one cannot be decided.
 *
 * - `serviceToken`: the service token of this id.
 * - `anyServiceToken`: any service token this edge verified. Never a daemon's tunnel token, never a person.
 * - `identity`: exactly this (issuer, subject), as a verifier made it.
 */
export type Selector =
  | { readonly serviceToken: string }
  | { readonly anyServiceToken: true }
  | { readonly identity: { readonly issuer: string; readonly subject: string } }

/** One rule of an application. */
export interface Rule {
  /** 1–64 characters, unique in its application: reasons and audit rows name it. */
  readonly name: string
  readonly action: 'allow' | 'deny'
  /** The rule is about whoever matches one of these. Empty: nobody. */
  readonly include: readonly Selector[]
  /** All of these must match too. */
  readonly require?: readonly Selector[]
  /** None of these may match. */
  readonly exclude?: readonly Selector[]
  /** Allow rules only: what it lets a protocol do, opaque here. */
  readonly permit?: Json
}

/** Most rules one application may have, and most selectors one rule may have in each list. */
export const MOST_RULES = 100
export const MOST_SELECTORS = 1000
const LONGEST_NAME = 64

/**
 * Checks rules before they are saved, so that evaluation never meets what it cannot decide.
 *
 * @returns what is wrong, a sentence each; empty when they may be saved
 */
export function checkRules(value: unknown): readonly string[] {
  if (!Array.isArray(value)) return ['rules are a list']
  if (value.length > MOST_RULES) return [`an application has at most ${MOST_RULES} rules`]
  const names = new Set<unknown>()
  return value.flatMap((rule: unknown, index) => {
    const wrong = checkRule(rule).map(problem => `rule ${index + 1}: ${problem}`)
    const name = isRecord(rule) ? rule.name : undefined
    if (names.has(name)) wrong.push(`rule ${index + 1}: the name is taken by an earlier rule`)
    names.add(name)
    return wrong
  })
}

const MEMBERS: readonly string[] = [
  'name',
  'action',
  'include',
  'require',
  'exclude',
  'permit',
] satisfies (keyof Rule)[]

function checkRule(rule: unknown): string[] {
  if (!isRecord(rule)) return ['is not an object']
  const wrong = Object.keys(rule)
    .filter(key => !MEMBERS.includes(key))
    .map(key => `has a member that is not known: ${JSON.stringify(key.slice(0, LONGEST_NAME))}`)
  if (typeof rule.name !== 'string' || rule.name === '' || rule.name.length > LONGEST_NAME) {
    wrong.push(`needs a name of 1–${LONGEST_NAME} characters`)
  }
  if (rule.action !== 'allow' && rule.action !== 'deny') wrong.push('needs an action: allow or deny')
  if (rule.action === 'deny' && rule.permit !== undefined) wrong.push('denies, so it permits nothing')
  if (rule.include === undefined) wrong.push('needs an include list')
  for (const list of ['include', 'require', 'exclude'] as const) wrong.push(...checkSelectors(list, rule[list]))
  return wrong
}

function checkSelectors(list: string, value: unknown): string[] {
  if (value === undefined) return []
  if (!Array.isArray(value)) return [`${list} is not a list`]
  if (value.length > MOST_SELECTORS) return [`${list} has more than ${MOST_SELECTORS} selectors`]
  return value.flatMap((selector: unknown, index) =>
    isSelector(selector) ? [] : [`${list}[${index}] is not a selector this version knows`],
  )
}

/** Whether a value is a selector this version knows, with nothing besides. */
export function isSelector(value: unknown): value is Selector {
  if (!isRecord(value)) return false
  const [key, ...others] = Object.keys(value)
  if (others.length > 0) return false
  if (key === 'serviceToken') return isText(value.serviceToken)
  if (key === 'anyServiceToken') return value.anyServiceToken === true
  if (key !== 'identity' || !isRecord(value.identity)) return false
  const { issuer, subject, ...more } = value.identity
  return isText(issuer) && isText(subject) && Object.keys(more).length === 0
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}

/** Whether a value is an object with members, and no list. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
