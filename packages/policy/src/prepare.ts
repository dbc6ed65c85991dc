import type { Answer, View } from './facts.ts'
import { DEEPEST_GROUP, type Groups } from './groups.ts'
import { any, TESTS, type Test, UNTOLD } from './match.ts'
import { type Action, isRule, type List, misplaced, type Rule } from './rule.ts'
import { checkSelector, keyOf, type Selector, type SelectorKey } from './selector.ts'

/** Rules that are read, for as many decisions as one likes. Opaque: {@link preparePolicy} makes it. */
export interface Policy {
  /** Undefined where a rule is malformed, and so nothing can be decided. */
  readonly rules: readonly PreparedRule[] | undefined
}

export interface PreparedRule {
  readonly rule: Rule
  /** `allow rule "staff": `, for reasons. */
  readonly label: string
  readonly lists: Readonly<Record<List, readonly PreparedSelector[]>>
}

export interface PreparedSelector {
  readonly test: Test
  /** Whether it can be met by a person who is not identified yet. */
  readonly isAboutPeople: boolean
  /** `require[0] {"path":["/api"]}`, for reasons. */
  readonly text: string
  /** Why there may be no answer. */
  readonly untold: string
}

/**
 * Reads rules once. A selector that is not known or out of place cannot be decided, and a malformed rule denies everybody: what
 * `checkRules` refuses helps nobody in when it is here nevertheless.
 */
export function preparePolicy(rules: readonly Rule[], groups: Groups = {}): Policy {
  if (!Array.isArray(rules) || !rules.every(isRule)) return { rules: undefined }
  const reader = new Reader(groups)
  return { rules: rules.map(rule => prepareRule(rule, reader)) }
}

function prepareRule(rule: Rule, reader: Reader): PreparedRule {
  const prepared = (list: List) =>
    (rule[list] ?? []).map((selector, index) => {
      const read = reader.read(selector, { action: rule.action, list }, 0)
      return { ...read, text: `${list}[${index}] ${shown(selector)}` }
    })
  const label = `${rule.action} rule ${JSON.stringify(rule.name)}: `
  return {
    rule,
    label,
    lists: { include: prepared('include'), require: prepared('require'), exclude: prepared('exclude') },
  }
}

const LONGEST_SHOWN = 100

function shown(selector: unknown): string {
  const json = JSON.stringify(selector) ?? 'undefined'
  return json.length > LONGEST_SHOWN ? `${json.slice(0, LONGEST_SHOWN)}…` : json
}

type Read = Omit<PreparedSelector, 'text'>
interface Place {
  readonly action: Action
  readonly list: List
}

const UNKNOWN: Read = {
  test: () => 'unknown',
  isAboutPeople: false,
  untold: 'this version does not know it, or not in that place',
}
const PEOPLE: readonly SelectorKey[] = ['everyone', 'email', 'emailDomain', 'group', 'claim', 'provider', 'identity']

/** Of a certificate that nobody looked for: what keeps the rule from letting nobody in, or from denying. */
function unlessUnseen(test: Test, { action, list }: Place): Test {
  const unseen: Answer = list === (action === 'deny' ? 'exclude' : 'require') ? 'yes' : 'no'
  return view => (view.certificates === undefined ? unseen : test(view))
}

/** Reads selectors, and each group that they name once for every place it is named in. */
class Reader {
  readonly #groups: Groups
  readonly #read = new Map<string, Read>()

  constructor(groups: Groups) {
    this.#groups = groups
  }

  read(selector: Selector, place: Place, depth: number): Read {
    const key = keyOf(selector)
    if (key === undefined || checkSelector(selector) !== undefined) return UNKNOWN
    if (misplaced(place.action, place.list, key) !== undefined) return UNKNOWN
    if ('inGroup' in selector) return this.#group(selector.inGroup, place, depth)
    const make = TESTS[key as keyof typeof TESTS] as (value: unknown) => Test
    const own = make((selector as Record<string, unknown>)[key])
    const test = key === 'certificate' ? unlessUnseen(own, place) : own
    return { test, isAboutPeople: PEOPLE.includes(key), untold: UNTOLD[key] }
  }

  #group(name: string, place: Place, depth: number): Read {
    const key = `${place.action} ${place.list} ${depth} ${name}`
    const found = this.#read.get(key)
    if (found) return found
    const members = Object.hasOwn(this.#groups, name) ? this.#groups[name] : undefined
    if (!Array.isArray(members) || depth >= DEEPEST_GROUP) return UNKNOWN
    const read = members.map((one: Selector) => this.read(one, place, depth + 1))
    // Kept for the decision: of groups that name each other many times each is looked at once.
    const test = (view: View): Answer => {
      const known = view.groups.get(key)
      if (known !== undefined) return known
      const answer = any(read, one => one.test(view))
      view.groups.set(key, answer)
      return answer
    }
    const group = { test, isAboutPeople: read.some(one => one.isAboutPeople), untold: UNTOLD.inGroup }
    this.#read.set(key, group)
    return group
  }
}
