import { checkSelector, isRecord, keyOf, type Selector, saying } from './selector.ts'

/** Selectors that several rules share, by name; a rule names them as `inGroup`. */
export type Groups = Readonly<Record<string, readonly Selector[]>>

/** Most groups, most selectors in one, and how deep groups may lie in groups. */
export const MOST_GROUPS = 1000
export const MOST_IN_GROUP = 1000
export const DEEPEST_GROUP = 8

export const GROUP_NAME: RegExp = /^[A-Za-z0-9][A-Za-z0-9 ._@+-]{0,63}$/

/**
 * Checks reusable groups before they are saved.
 *
 * @returns what is wrong, a sentence each; empty when they may be saved
 */
export function checkGroups(value: unknown): readonly string[] {
  if (!isRecord(value)) return ['groups are selectors by name']
  const names = Object.keys(value)
  if (names.length > MOST_GROUPS) return [`there are more than ${MOST_GROUPS} groups`]
  const wrong = names.flatMap(name => checkGroup(name, value))
  return wrong.length > 0 ? wrong : checkDepths(value as Groups)
}

function checkGroup(name: string, groups: Record<string, unknown>): string[] {
  const called = `group ${JSON.stringify(name.slice(0, 64))}`
  const selectors = groups[name]
  if (!GROUP_NAME.test(name)) return [`${called}: a name is 1–64 letters, digits, spaces and ._@+-`]
  if (!Array.isArray(selectors)) return [`${called}: is not a list of selectors`]
  if (selectors.length > MOST_IN_GROUP) return [`${called}: has more than ${MOST_IN_GROUP} selectors`]
  return selectors.flatMap((selector: unknown, index) => {
    const wrong = checkSelector(selector) ?? lostIn(selector, groups)
    if (wrong === undefined) return []
    return [`${called}: [${index}]${saying(keyOf(selector), wrong)}`]
  })
}

/** What is wrong with a selector because of the groups there are. */
export function lostIn(selector: unknown, groups: Record<string, unknown>): string | undefined {
  if (!isRecord(selector) || typeof selector.inGroup !== 'string') return undefined
  return Object.hasOwn(groups, selector.inGroup) ? undefined : `names a group that is not there`
}

/** A selector, and all that is in the group it names and the groups in that: each once. */
export function membersOf(selector: Selector, groups: Groups): readonly Selector[] {
  const found = [selector]
  const named = new Set<string>()
  for (const one of found) {
    if (!('inGroup' in one) || named.has(one.inGroup)) continue
    named.add(one.inGroup)
    if (Object.hasOwn(groups, one.inGroup)) for (const member of groups[one.inGroup] ?? []) found.push(member)
  }
  return found
}

/** Each group is looked at once, however often it is named. */
function checkDepths(groups: Groups): string[] {
  const depths = new Map<string, number>()
  const wrong: string[] = []
  const depthOf = (name: string, above: readonly string[]): number => {
    const known = depths.get(name)
    if (known !== undefined) return known
    if (above.includes(name)) {
      wrong.push(`group ${JSON.stringify(name)}: is in itself`)
      return 0
    }
    if (above.length > DEEPEST_GROUP) return above.length
    const inner = (groups[name] ?? []).flatMap(one => ('inGroup' in one ? [one.inGroup] : []))
    const depth = 1 + Math.max(0, ...new Set(inner).values().map(one => depthOf(one, [...above, name])))
    depths.set(name, depth)
    return depth
  }
  for (const name of Object.keys(groups)) {
    if (depthOf(name, []) > DEEPEST_GROUP)
      wrong.push(`group ${JSON.stringify(name)}: lies deeper than ${DEEPEST_GROUP} groups in groups`)
  }
  return [...new Set(wrong)]
}
