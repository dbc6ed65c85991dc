import { PosternError } from '@postern/interface'
import { decide } from '@postern/policy'
import { z } from 'zod'
import { command } from '../admin/command.ts'
import { readDocument } from '../admin/document.ts'
import { safe } from '../admin/show.ts'
import { factsOf } from './asked.ts'
import { FILE, type Policies, readPolicies } from './rules.ts'

const text = z.string().min(1).max(1024)

const names = z.union([text, z.array(text)]).optional()

const oneCase = z.strictObject({
  name: text,
  app: text,
  user: text.optional(),
  serviceToken: text.optional(),
  service: text.optional(),
  certificate: z
    .strictObject({
      ca: text.optional(),
      commonName: text.optional(),
      dns: names,
      email: names,
      uri: names,
      ip: names,
      fingerprint: text.optional(),
      issuer: text.optional(),
    })
    .optional(),
  provider: text.optional(),
  subject: text.optional(),
  groups: z.array(text).optional(),
  claims: z.record(text, z.json()).optional(),
  address: text.optional(),
  path: text.optional(),
  method: text.optional(),
  expect: z.enum(['allow', 'deny']),
  /** The rule that decides; without it any may. */
  rule: text.optional(),
})
type Case = z.infer<typeof oneCase>

const CASES = z.strictObject({ cases: z.array(oneCase).min(1).max(10_000) })

interface Tried {
  readonly name: string
  readonly passed: boolean
  readonly expected: { readonly decision: Case['expect']; readonly rule?: string }
  readonly got: { readonly decision: Case['expect']; readonly rule?: string }
  readonly reasons: readonly string[]
}

export const TEST = command({
  summary: 'try a file of cases, each with whether it is let in',
  words: ['CASES'],
  options: FILE,
  example: 'postern policy test policy-cases.yaml -f access.yaml',
  async run(context) {
    const { words, values, program, call } = context
    const { value } = await readDocument(words.CASES, CASES, program, call)
    const policies = await readPolicies(values.file, context)
    const now = Date.now()
    const tried = value.cases.map(one => tryCase(one, policies, now))
    const failed = tried.filter(({ passed }) => !passed).length
    context.print({ passed: tried.length - failed, failed, cases: tried }, textOf(tried))
    if (failed > 0) throw new PosternError('TEST_FAILED', `${failed} of ${tried.length} cases failed`)
    return undefined
  },
  show: () => '',
})

function tryCase({ name, app, expect, rule, ...asked }: Case, { find, known }: Policies, now: number): Tried {
  const decision = decide(factsOf(known(asked), now), find(app))
  const got = decision.allow ? 'allow' : 'deny'
  return {
    name,
    passed: got === expect && (rule === undefined || rule === decision.rule),
    expected: { decision: expect, ...(rule !== undefined && { rule }) },
    got: { decision: got, ...(decision.rule !== undefined && { rule: decision.rule }) },
    reasons: decision.reasons,
  }
}

function textOf(tried: readonly Tried[]): string {
  const lines = tried.flatMap(({ name, passed, expected, got, reasons }) => {
    if (passed) return [`ok      ${name}`]
    return [`FAILED  ${name}: expected ${said(expected)}, got ${said(got)}`, ...reasons.map(why => `          ${why}`)]
  })
  const passed = tried.filter(one => one.passed).length
  return `${[...lines, `${passed} of ${tried.length} cases passed`].map(safe).join('\n')}\n`
}

function said({ decision, rule }: Tried['got']): string {
  return rule === undefined ? decision : `${decision} by ${JSON.stringify(rule)}`
}
