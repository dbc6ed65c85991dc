import { type Access, ROUTES } from '@postern/admin'
import { PosternError } from '@postern/interface'
import { checkRules, type Policy, preparePolicy, type Rule } from '@postern/policy'
import type { Context } from '../admin/command.ts'
import { readDocument } from '../admin/document.ts'
import { safe } from '../admin/show.ts'

export const FILE = {
  file: {
    type: 'string',
    aliases: ['f'],
    summary: 'the rules, as `postern admin export` prints them (default: the edge’s)',
  },
} as const

const ACCESS = ROUTES['access.apply'].body.shape.access

/** The policy of an application. @throws PosternError NOT_FOUND */
export type FindPolicy = (hostname: string) => Policy

/**
 * The rules of a file, checked as an edge would check them, or those of the edge.
 *
 * @throws PosternError CONFIG_INVALID, with the place
 */
export async function readPolicies(
  file: string | undefined,
  { program, call, ask }: Pick<Context<never, typeof FILE>, 'program' | 'call' | 'ask'>,
): Promise<FindPolicy> {
  const read = file === undefined ? undefined : await readDocument(file, ACCESS, program, call)
  const access: Access = read?.value ?? (await ask('access.get', {}))
  const policies = new Map<string, Policy>()
  for (const [index, { hostname, rules = [] }] of (access.applications ?? []).entries()) {
    const [wrong] = checkRules(rules)
    if (wrong !== undefined) {
      const at = ['applications', index, 'rules', Number(/\d+/.exec(wrong)?.[0] ?? 1) - 1]
      throw new PosternError('CONFIG_INVALID', safe(`${read?.where(at) ?? 'the edge'}: ${hostname}: ${wrong}`))
    }
    policies.set(hostname, preparePolicy(rules as readonly Rule[]))
  }
  return hostname => {
    const found = policies.get(hostname)
    if (found !== undefined) return found
    const names = [...policies.keys()].slice(0, 10).join(', ')
    throw new PosternError('NOT_FOUND', safe(`no application ${JSON.stringify(hostname)} in ${file ?? 'the edge'}`), {
      next: names === '' ? 'It has none.' : safe(`It has: ${names}.`),
    })
  }
}
