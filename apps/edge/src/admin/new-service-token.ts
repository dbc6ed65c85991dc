import type { Checked, ShownServiceToken } from '@postern/admin'
import { PosternError } from '@postern/interface'
import { checkRules, type Rule } from '@postern/policy'
import type { ApplicationRecord, Snapshot } from '@postern/store'
import { mustBeApplication } from './applications.ts'
import type { Handlers, Planned } from './handling.ts'
import { serviceTokensOf } from './records.ts'
import { fitting } from './rules.ts'
import { newServiceToken, shownServiceToken, tokenChange } from './service-tokens.ts'

export const NEW_SERVICE_TOKEN: Handlers<'service-token.create'> = {
  'service-token.create': (handling, { body }) => handling.change((snapshot, now) => plan(body, snapshot, now)),
}

/** Characters that hostnames fill of an audit row, which takes 8,192 in all. */
const MOST_TOLD = 4000
const LONGEST_RULE_NAME = 64

type Wanted = Checked<'service-token.create'>['body']

/**
 * The token, and the rules that let it in: one change.
 *
 * @throws PosternError ALREADY_EXISTS: a good token has the name; NOT_FOUND: no such application; BAD_USAGE: no room for a rule
 */
function plan(
  { name, expiresInSeconds, applications = [] }: Wanted,
  snapshot: Snapshot,
  now: number,
): Planned<ShownServiceToken> {
  mustBeFree(name, snapshot)
  const lives = expiresInSeconds === undefined ? {} : { expiresAt: now + expiresInSeconds * 1000 }
  const { id, secret, record } = newServiceToken(name, lives, now)
  const opened = [...new Set(applications)].map(hostname =>
    letIn(mustBeApplication(snapshot, hostname), name, id, snapshot),
  )
  const told = opened.map(({ value, rule }) => `${value.hostname}: ${rule}`)
  return {
    changes: [tokenChange(id, record), ...opened.map(({ value }) => ({ put: 'application', value }) as const)],
    action: 'service-token.create',
    detail: { id, name, ...(told.length > 0 && { rules: fitting(told, MOST_TOLD) }) },
    answer: () => ({ ...shownServiceToken(id, record, now), secret }),
  }
}

function mustBeFree(name: string, snapshot: Snapshot): void {
  const taken = [...serviceTokensOf(snapshot).values()].some(one => one.name === name && one.revokedAt === undefined)
  if (!taken) return
  throw new PosternError('ALREADY_EXISTS', `a service token is called ${JSON.stringify(name)} already`, {
    speaker: 'edge',
    next: 'Use another name, or revoke that token first.',
  })
}

/** An application with a rule more, at the end. */
function letIn(
  application: ApplicationRecord,
  name: string,
  id: string,
  { groups }: Snapshot,
): { readonly value: ApplicationRecord; readonly rule: string } {
  const rule = freeName(`allow ${name}`, application.rules)
  const rules: readonly Rule[] = [
    ...application.rules,
    { name: rule, action: 'allow', include: [{ serviceToken: id }] },
  ]
  const [wrong] = checkRules(rules, groups)
  if (wrong === undefined) return { value: { ...application, rules }, rule }
  throw new PosternError('BAD_USAGE', `${application.hostname}: ${wrong}`, { speaker: 'edge' })
}

/** A token of the same name, revoked since, may have left its rule. */
function freeName(wanted: string, rules: readonly Rule[]): string {
  const taken = new Set(rules.map(({ name }) => name))
  for (let count = 1; ; count += 1) {
    const end = count === 1 ? '' : ` ${count}`
    const name = wanted.slice(0, LONGEST_RULE_NAME - end.length) + end
    if (!taken.has(name)) return name
  }
}
