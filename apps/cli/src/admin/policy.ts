import { ROUTES, type WantedApplication } from '@postern/admin'
import { PosternError } from '@postern/interface'
import { type AdminCommand, type Context, command, group } from './command.ts'
import { readDocument } from './document.ts'
import { yamlOf } from './show.ts'
import { mustNameSomebody, ruleName, WHOM, whomIn } from './whom.ts'

const RULE = {
  ...WHOM,
  name: { type: 'string', summary: 'the rule’s name (default: the action and whom)' },
  before: { type: 'string', summary: 'the rule in front of which it goes (default: at the end)' },
} as const
const PERMIT = { permit: { type: 'string', summary: 'JSON: what it lets the protocol do' } } as const

const RULES = ROUTES['policy.put'].body.shape.rules

export const POLICY = group('See and change who may use an application', {
  show: command({
    summary: 'print an application’s rules, as `policy set` takes them',
    words: ['HOSTNAME'],
    example: 'postern admin policy show db.example.com > rules.yaml',
    run: async ({ words, ask }) => (await ask('application.get', { params: { hostname: words.HOSTNAME } })).rules,
    show: rulesText,
  }),
  set: command({
    summary: 'replace an application’s rules; who is not let in any more is cut off',
    words: ['HOSTNAME'],
    options: {
      file: { type: 'string', required: true, aliases: ['f'], summary: 'YAML or JSON list of rules; - is stdin' },
    },
    example: 'postern admin policy set db.example.com -f rules.yaml',
    async run({ words, values, program, call, ask }) {
      const { value } = await readDocument(values.file, RULES, program, call)
      return (await ask('policy.put', { params: { hostname: words.HOSTNAME }, body: { rules: value } })).rules
    },
    show: shown,
  }),
  allow: adding('allow', 'let people or service tokens in, by a further rule'),
  deny: adding('deny', 'keep people or service tokens out, by a further rule; deny goes before allow'),
  remove: command({
    summary: 'take a rule away; who is not let in any more is cut off',
    words: ['HOSTNAME', 'RULE'],
    example: "postern admin policy remove db.example.com 'allow ci'",
    async run({ words, ask }) {
      const query = { name: words.RULE }
      return (await ask('policy.remove', { params: { hostname: words.HOSTNAME }, query })).rules
    },
    show: shown,
  }),
})

function adding(action: 'allow' | 'deny', summary: string): AdminCommand {
  return command({
    summary,
    words: ['HOSTNAME'],
    options: { ...RULE, ...PERMIT },
    example: `postern admin policy ${action} db.example.com --service-token ci`,
    async run({ words, values, ask }) {
      const { permit, before } = values
      const include = whomIn(values)
      mustNameSomebody(include, action)
      if (action === 'deny' && permit !== undefined)
        throw new PosternError('OPTION_CONFLICT', 'a rule that denies permits nothing: --permit goes with allow')
      const rule = {
        name: values.name ?? ruleName(action, include),
        action,
        include,
        ...(permit !== undefined && { permit: jsonOf(permit) }),
      }
      const body = { rule, ...(before !== undefined && { before }) }
      return (await ask('policy.add', { params: { hostname: words.HOSTNAME }, body })).rules
    },
    show: shown,
  })
}

type Asking = Pick<Context<'HOSTNAME', Record<never, never>>, 'words' | 'say' | 'ask'>

/** The rules as they are now. */
function shown(rules: readonly unknown[], context: Asking): Promise<string> {
  const { HOSTNAME } = context.words
  context.say(
    rules.length > 0 ? `The rules of ${HOSTNAME} are now:` : `${HOSTNAME} has no rules now: it lets nobody in.`,
  )
  return rulesText(rules, context)
}

/** For a file, with the names of the service tokens beside their ids. */
async function rulesText(rules: readonly unknown[], { ask }: Asking): Promise<string> {
  const tokens = await ask('service-token.list', {})
  const names = new Map(tokens.map(({ id, name }) => [id, name]))
  return yamlOf(rules, value => names.get(value))
}

type Permit = NonNullable<WantedApplication['rules'][number]['permit']>

function jsonOf(text: string): Permit {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new PosternError('OPTION_INVALID', '--permit is not JSON', { cause, next: `Quote it: --permit '{"…": …}'.` })
  }
}
