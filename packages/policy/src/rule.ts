import type { Json } from '@postern/interface'
import { type Groups, lostIn, membersOf } from './groups.ts'
import { checkSelector, isRecord, keyOf, type Selector, type SelectorKey, saying } from './selector.ts'

/**
 * What a rule does with whom or what it applies to.
 *
 * - `deny`: not let in, whatever other rules say.
 * - `bypass`: let in without anybody being identified. Only for a single HTTP request, by its path, method and address; access to
 *   a protocol (TCP, SSH) is never let in by it.
 * - `allow`: a person is let in; also a service that is named by its token or identity.
 * - `service`: a service is let in, by its token or by what its verifier says of it; never a person. Whoever is not let in is
 *   answered, not sent to sign in.
 */
export type Action = 'allow' | 'deny' | 'bypass' | 'service'

/** One rule of an application. */
export interface Rule {
  /** 1–64 characters, unique in its application: reasons and audit rows name it. */
  readonly name: string
  readonly action: Action
  /** The rule is about whoever, or whatever, matches one of these. Empty: nobody. In rules that let in by identity: who. */
  readonly include: readonly Selector[]
  /** All of these must match too. */
  readonly require?: readonly Selector[]
  /** None of these may match. */
  readonly exclude?: readonly Selector[]
  /** Of `allow` and `service`: what it lets a protocol do, opaque here. */
  readonly permit?: Json
}

/** Most rules one application may have, and most selectors one rule may have in each list. */
export const MOST_RULES = 100
export const MOST_SELECTORS = 1000
const LONGEST_NAME = 64

export const ACTIONS: readonly ['allow', 'deny', 'bypass', 'service'] = ['allow', 'deny', 'bypass', 'service']
export const LISTS: readonly ['include', 'require', 'exclude'] = ['include', 'require', 'exclude']
export type List = (typeof LISTS)[number]

const ABOUT_REQUESTS: readonly SelectorKey[] = ['address', 'path', 'method']
const ABOUT_PEOPLE: readonly SelectorKey[] = ['everyone', 'email', 'emailDomain', 'group']

/**
 * Why a selector of that kind means nothing there, as the end of a sentence; undefined when it does. Who is let in by identity is
 * said by `include`, so that no list of addresses or paths lets in somebody unknown.
 */
export function misplaced(action: Action, list: List, key: SelectorKey): string | undefined {
  const isRequest = ABOUT_REQUESTS.includes(key)
  if (action === 'deny' || key === 'inGroup') return undefined // what is in the group is judged itself
  if (action === 'bypass')
    return isRequest ? undefined : `is about who asks; a rule that bypasses looks at ${ABOUT_REQUESTS.join(', ')} only`
  if (action === 'service' && ABOUT_PEOPLE.includes(key)) return 'is about people; a rule for services is not'
  if (list === 'include' && isRequest) return `does not say who; ${key} goes under require or exclude`
  return undefined
}

/**
 * Checks rules before they are saved, so that evaluation never meets what it cannot decide.
 *
 * @param groups the reusable groups that rules may name
 * @returns what is wrong, a sentence each; empty when they may be saved
 */
export function checkRules(value: unknown, groups: Groups = {}): readonly string[] {
  if (!Array.isArray(value)) return ['rules are a list']
  if (value.length > MOST_RULES) return [`an application has at most ${MOST_RULES} rules`]
  const names = new Set<unknown>()
  return value.flatMap((rule: unknown, index) => {
    const wrong = checkRule(rule, groups).map(problem => `rule ${index + 1}: ${problem}`)
    const name = isRecord(rule) ? rule.name : undefined
    if (names.has(name)) wrong.push(`rule ${index + 1}: the name is taken by an earlier rule`)
    names.add(name)
    return wrong
  })
}

/** Whether a value has the shape of a rule, as far as its evaluation relies on it. */
export function isRule(value: unknown): value is Rule {
  if (!isRecord(value) || typeof value.name !== 'string' || !isAction(value.action)) return false
  return [value.include, value.require ?? [], value.exclude ?? []].every(Array.isArray)
}

const MEMBERS: readonly string[] = [
  'name',
  'action',
  'include',
  'require',
  'exclude',
  'permit',
] satisfies (keyof Rule)[]

function checkRule(rule: unknown, groups: Groups): string[] {
  if (!isRecord(rule)) return ['is not an object']
  const { name, action } = rule
  const wrong = Object.keys(rule)
    .filter(key => !MEMBERS.includes(key))
    .map(key => `has a member that is not known: ${JSON.stringify(key.slice(0, LONGEST_NAME))}`)
  if (typeof name !== 'string' || name === '' || name.length > LONGEST_NAME) {
    wrong.push(`needs a name of 1–${LONGEST_NAME} characters`)
  }
  if (!isAction(action)) return [...wrong, `needs an action: ${ACTIONS.slice(0, -1).join(', ')} or ${ACTIONS.at(-1)}`]
  if (action === 'deny' && rule.permit !== undefined) wrong.push('denies, so it permits nothing')
  if (action === 'bypass' && rule.permit !== undefined)
    wrong.push('lets in nobody in particular, so it permits nothing')
  if (rule.include === undefined) wrong.push('needs an include list')
  for (const list of LISTS) wrong.push(...checkSelectors(action, list, rule[list], groups))
  return wrong
}

function checkSelectors(action: Action, list: List, value: unknown, groups: Groups): string[] {
  if (value === undefined) return []
  if (!Array.isArray(value)) return [`${list} is not a list`]
  if (value.length > MOST_SELECTORS) return [`${list} has more than ${MOST_SELECTORS} selectors`]
  return value.flatMap((selector: unknown, index) => {
    const key = keyOf(selector)
    const wrong = checkSelector(selector) ?? lostIn(selector, groups) ?? misplacedIn(selector, action, list, groups)
    if (wrong === undefined) return []
    return `${list}[${index}]${saying(key, wrong)}`
  })
}

/** The same of a selector, or of the first that is out of place in the group it names. */
function misplacedIn(selector: unknown, action: Action, list: List, groups: Groups): string | undefined {
  for (const one of membersOf(selector as Selector, groups)) {
    const key = keyOf(one)
    const wrong = key && misplaced(action, list, key)
    if (wrong !== undefined) return one === selector ? wrong : `names a group with ${key}, which ${wrong}`
  }
  return undefined
}

function isAction(value: unknown): value is Action {
  return ACTIONS.some(action => action === value)
}
