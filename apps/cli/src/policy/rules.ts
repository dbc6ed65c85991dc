import { type Access, ROUTES } from '@postern/admin'
import { PosternError } from '@postern/interface'
import {
  checkGroups,
  checkRules,
  type Groups,
  type Policy,
  preparePolicy,
  type Rule,
  type Selector,
} from '@postern/policy'
import type { Context } from '../admin/command.ts'
import { readDocument } from '../admin/document.ts'
import { safe } from '../admin/show.ts'
import type { Asked } from './asked.ts'

export const FILE = {
  file: {
    type: 'string',
    aliases: ['f'],
    summary: 'the rules, as `postern admin export` prints them (default: the edge’s)',
  },
} as const

const ACCESS = ROUTES['access.apply'].body.shape.access

/** The rules, and whom an edge knows itself. */
export interface Policies {
  /** The policy of an application. @throws PosternError NOT_FOUND */
  find(hostname: string): Policy
  /** What the edge’s directory says of a person, where nothing else is said of them. */
  known(asked: Asked): Asked
}

type Asking = Pick<Context<never, typeof FILE>, 'program' | 'call' | 'ask'>

/**
 * The rules of a file, checked as an edge would check them, or those of the edge, which knows the people of its directory too.
 *
 * @throws PosternError CONFIG_INVALID, with the place
 */
export async function readPolicies(file: string | undefined, context: Asking): Promise<Policies> {
  const { program, call, ask } = context
  const read = file === undefined ? undefined : await readDocument(file, ACCESS, program, call)
  const access: Access = read?.value ?? (await ask('access.get', {}))
  const at = (...path: (string | number)[]) => read?.where(path) ?? 'the edge'
  const groups = groupsOf(access, at)
  const policies = new Map<string, Policy>()
  for (const [index, { hostname, rules = [] }] of (access.applications ?? []).entries()) {
    const [wrong] = checkRules(rules, groups)
    if (wrong !== undefined) {
      const place = at('applications', index, 'rules', Number(/\d+/.exec(wrong)?.[0] ?? 1) - 1)
      throw new PosternError('CONFIG_INVALID', safe(`${place}: ${hostname}: ${wrong}`))
    }
    policies.set(hostname, preparePolicy(rules as readonly Rule[], groups))
  }
  return {
    find(hostname) {
      const found = policies.get(hostname)
      if (found !== undefined) return found
      const names = [...policies.keys()].slice(0, 10).join(', ')
      throw new PosternError('NOT_FOUND', safe(`no application ${JSON.stringify(hostname)} in ${file ?? 'the edge'}`), {
        next: names === '' ? 'It has none.' : safe(`It has: ${names}.`),
      })
    },
    known: file === undefined ? await directoryOf(context) : asked => asked,
  }
}

/** @throws PosternError CONFIG_INVALID */
function groupsOf({ groups = [] }: Access, at: (...path: (string | number)[]) => string): Groups {
  const byName = Object.fromEntries(groups.map(({ name, selectors }) => [name, selectors as readonly Selector[]]))
  const [wrong] = checkGroups(byName)
  if (wrong === undefined) return byName
  const index = groups.findIndex(({ name }) => wrong.startsWith(`group ${JSON.stringify(name)}:`))
  throw new PosternError('CONFIG_INVALID', safe(`${at('groups', Math.max(index, 0))}: ${wrong}`))
}

async function directoryOf({ ask }: Asking): Promise<Policies['known']> {
  const [{ url: issuer }, users] = [await ask('status.get', {}), await ask('user.list', {})]
  const people = new Map(users.map(one => [one.email, one]))
  return asked => {
    const { user, provider, subject, groups } = asked
    const found = people.get(user?.replace(/[A-Z]/g, letter => letter.toLowerCase()) ?? '')
    if (found === undefined || provider !== undefined || subject !== undefined || groups !== undefined) return asked
    const { id, email, name } = found
    const claims = { email, email_verified: true, groups: found.groups, ...(name !== undefined && { name }) }
    return { ...asked, provider: issuer, subject: id, groups: found.groups, claims: { ...claims, ...asked.claims } }
  }
}
