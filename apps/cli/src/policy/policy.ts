import { type Call, type Json, PosternError } from '@postern/interface'
import { explain } from '@postern/policy'
import type { Program } from '@postern/program'
import { command, group } from '../admin/command.ts'
import { dispatch } from '../admin/dispatch.ts'
import { safe, table } from '../admin/show.ts'
import { factsOf, type ShownCertificate } from './asked.ts'
import { FILE, readPolicies } from './rules.ts'
import { TEST } from './test.ts'

const ASKED = {
  app: { type: 'string', required: true, summary: 'the application’s hostname' },
  user: {
    type: 'string',
    summary: 'a person, by the email address their provider vouches for, or by the edge’s directory',
  },
  group: { type: 'string', multiple: true, summary: 'a group that their provider lists them in' },
  claim: { type: 'string', multiple: true, summary: 'NAME=VALUE, a claim of theirs; the value is JSON, or else text' },
  serviceToken: { type: 'string', summary: 'a service token, as the rules name it' },
  service: { type: 'string', summary: 'a service of another scheme, by its subject' },
  certificate: {
    type: 'string',
    multiple: true,
    summary: 'NAME=VALUE of a client certificate: ca, commonName, dns, email, uri, ip, fingerprint or issuer',
  },
  provider: { type: 'string', summary: 'the issuer of the person or the other service' },
  subject: { type: 'string', summary: 'the person’s subject at the provider (default: the email address)' },
  address: { type: 'string', summary: 'the IP address that they come from' },
  path: { type: 'string', summary: 'the path of one HTTP request (default: none, which is access by tcp or ssh)' },
  method: { type: 'string', summary: 'its method (default: GET, where there is a path)' },
} as const

const EXPLAIN = command({
  summary: 'say whether somebody would be let in, and what each rule says',
  options: { ...ASKED, ...FILE },
  example: 'postern policy explain --app app.example.com --user ann@example.com --address 10.0.0.7 -f access.yaml',
  async run(context) {
    const { file, app, group: groups, claim, certificate, ...asked } = context.values
    const claims = claimsOf(claim)
    const facts = {
      ...asked,
      claims,
      certificate: certificateOf(certificate),
      groups: groups.length > 0 ? groups : undefined,
    }
    const { find, known } = await readPolicies(file, context)
    const policy = find(app)
    const told = known(facts)
    if (told !== facts) context.say(`${facts.user} is known here: groups ${told.groups?.join(', ') || 'none'}`)
    const { decision, verdicts } = explain(factsOf(told, Date.now()), policy)
    return { app, ...decision, verdicts }
  },
  show({ app, allow, rule, verdicts }) {
    const by = rule === undefined ? 'no rule lets in' : `by the rule ${JSON.stringify(rule)}`
    const rows = verdicts.map(one => [one.action, one.rule, one.applies, one.why])
    return `${safe(`${app}: ${allow ? 'allow' : 'deny'}, ${by}`)}\n\n${table(['ACTION', 'RULE', 'APPLIES', 'WHY'], rows)}`
  },
})

const TREE = group('Policies', {
  policy: group('Try who is let in, and why: from a file or an edge', { test: TEST, explain: EXPLAIN }),
})

/** `postern policy …`. @param argv with that word */
export function policy(argv: readonly string[], program: Program, call: Call): Promise<void> {
  return dispatch(TREE, argv, program, call)
}

/** @throws PosternError OPTION_INVALID */
function claimsOf(given: readonly string[]): Record<string, Json> {
  return Object.fromEntries(
    given.map(one => pairOf(one, '--claim', 'role=admin')).map(([name, text]) => [name, jsonOr(text)]),
  )
}

const ONCE = ['ca', 'commonName', 'fingerprint', 'issuer']
const MEMBERS = [...ONCE, 'dns', 'email', 'uri', 'ip']

/** @throws PosternError OPTION_INVALID */
function certificateOf(given: readonly string[]): ShownCertificate | undefined {
  if (given.length === 0) return undefined
  const shown: Record<string, string | string[]> = {}
  for (const one of given) {
    const [name, text] = pairOf(one, '--certificate', 'email=ann@example.com')
    if (!MEMBERS.includes(name))
      throw new PosternError('OPTION_INVALID', `--certificate says one of ${MEMBERS.join(', ')}`)
    const before = shown[name]
    if (before !== undefined && ONCE.includes(name))
      throw new PosternError('OPTION_INVALID', `--certificate says ${name} twice, of which a certificate has one`)
    shown[name] = before === undefined ? text : [before, text].flat()
  }
  return shown
}

/** @throws PosternError OPTION_INVALID */
function pairOf(given: string, flag: string, example: string): readonly [name: string, text: string] {
  const at = given.indexOf('=')
  if (at <= 0) throw new PosternError('OPTION_INVALID', `${flag} is NAME=VALUE, for example ${flag} ${example}`)
  return [given.slice(0, at), given.slice(at + 1)]
}

function jsonOr(text: string): Json {
  try {
    return JSON.parse(text) as Json
  } catch {
    return text
  }
}
