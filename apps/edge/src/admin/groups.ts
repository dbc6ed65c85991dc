import type { Group } from '@postern/admin'
import { PosternError } from '@postern/interface'
import { checkGroups, checkRules, type Groups, type Rule, type Selector } from '@postern/policy'
import type { ApplicationRecord, Change, Snapshot } from '@postern/store'
import { type Authorities, authoritiesIn } from '../certificates/authorities.ts'
import { checkAdministrators } from './administrators.ts'
import type { Handlers } from './handling.ts'
import { administratorsOf } from './records.ts'
import { fitting, knownIn, readSelectors, sentSelectors } from './rules.ts'

export const GROUPS: Handlers<'group.list' | 'group.get' | 'group.put' | 'group.delete'> = {
  'group.list': ({ store: { snapshot } }) =>
    Object.keys(snapshot.groups)
      .sort()
      .map(name => shown(name, snapshot)),
  'group.get': ({ store: { snapshot } }, { params: { name } }) => shown(mustBeGroup(snapshot, name), snapshot),
  'group.put': (handling, { params: { name }, body: { selectors } }) =>
    handling.change(snapshot => {
      const value = readSelectors(selectors, knownIn(snapshot, handling), `group ${JSON.stringify(name)}: `)
      const groups = { ...snapshot.groups, [name]: value }
      checkAll(groups, snapshot.applications.values(), administratorsOf(snapshot), authoritiesIn(snapshot))
      const before = Object.hasOwn(snapshot.groups, name) ? snapshot.groups[name] : undefined
      return {
        changes: JSON.stringify(before) === JSON.stringify(value) ? [] : [{ put: 'group', name, value }],
        action: 'group.put',
        detail: { group: name, before: told(before ?? []), after: told(value) },
        answer: after => shown(name, after),
      }
    }),
  'group.delete': (handling, { params: { name } }) =>
    handling.change(snapshot => {
      mustBeGroup(snapshot, name)
      const users = usersOf(name, snapshot)
      if (users.length > 0) throw inUse(name, users)
      const changes: Change[] = [{ delete: 'group', name }]
      const detail = { group: name, before: told(snapshot.groups[name] ?? []) }
      return { changes, action: 'group.delete', detail, answer: () => undefined }
    }),
}

/** Characters of each side’s selectors in an audit row, which takes 8,192 in all. */
const MOST_TOLD = 3500

function told(selectors: readonly Selector[]) {
  return fitting(
    selectors.map(one => ({ ...one }) as { readonly [key: string]: string }),
    MOST_TOLD,
  )
}

/**
 * Whether everything still means something with these groups.
 *
 * @throws PosternError BAD_USAGE: a group that cannot be, or rules that cannot be with it
 */
export function checkAll(
  groups: Groups,
  applications: Iterable<ApplicationRecord>,
  administrators: readonly Selector[],
  authorities: Authorities,
): void {
  const [wrong] = checkGroups(groups)
  if (wrong !== undefined) throw badUsage(wrong)
  for (const { hostname, rules } of applications) {
    const [broken] = checkRules(rules, groups)
    if (broken !== undefined) throw badUsage(`${hostname}: ${broken}`)
  }
  for (const { name, record } of authorities.list()) {
    const [broken] = checkRules(record.rules, groups)
    if (broken !== undefined) throw badUsage(`the CA ${name}: ${broken}`)
  }
  checkAdministrators(administrators, groups)
}

/** What names a group itself. */
function usersOf(name: string, snapshot: Snapshot): readonly string[] {
  const { applications, groups, administrators } = shown(name, snapshot)
  const authorities = authoritiesIn(snapshot)
    .list()
    .filter(({ record }) => isNamedBy(record.rules, name))
  return [
    ...applications,
    ...groups.map(one => `the group ${one}`),
    ...authorities.map(one => `the CA ${one.name}`),
    ...(administrators ? ['administrators'] : []),
  ]
}

function isNamedBy(rules: readonly Rule[], name: string): boolean {
  return rules.some(({ include, require, exclude }) => [include, require, exclude].some(list => isNamedIn(list, name)))
}

function isNamedIn(selectors: readonly Selector[] = [], name: string): boolean {
  return selectors.some(one => 'inGroup' in one && one.inGroup === name)
}

function shown(name: string, snapshot: Snapshot): Group {
  const applications = [...snapshot.applications.values()].filter(({ rules }) => isNamedBy(rules, name))
  return {
    name,
    selectors: sentSelectors(snapshot.groups[name] ?? [], id => id),
    applications: applications.map(({ hostname }) => hostname).sort(),
    groups: Object.entries(snapshot.groups).flatMap(([other, selectors]) =>
      isNamedIn(selectors, name) ? [other] : [],
    ),
    administrators: isNamedIn(administratorsOf(snapshot), name),
  }
}

export function inUse(name: string, users: readonly string[]): PosternError {
  const more = users.length > 5 ? ` and ${users.length - 5} more` : ''
  return new PosternError('CONFLICT', `the group ${name} is named by ${users.slice(0, 5).join(', ')}${more}`, {
    speaker: 'edge',
    next: 'Take it out of these rules first.',
  })
}

/** @throws PosternError NOT_FOUND */
function mustBeGroup(snapshot: Snapshot, name: string): string {
  if (Object.hasOwn(snapshot.groups, name)) return name
  throw new PosternError('NOT_FOUND', `no group ${JSON.stringify(name)}`, { speaker: 'edge' })
}

function badUsage(message: string): PosternError {
  return new PosternError('BAD_USAGE', message, { speaker: 'edge' })
}
