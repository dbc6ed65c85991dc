import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openApi } from '@postern/admin'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { failure, json, run, startAdminWorld } from './admin-world.ts'
import { postern } from './postern.ts'

const folder = mkdtempSync(join(tmpdir(), 'postern-policy-'))
afterAll(() => rmSync(folder, { recursive: true }))
const write = (name: string, text: string) => {
  writeFileSync(join(folder, name), text, { mode: 0o600 })
  chmodSync(join(folder, name), 0o600)
  return join(folder, name)
}
const docs = readFileSync(join(import.meta.dirname, '../../../docs/policy.md'), 'utf8')
const blocks = (language: string) =>
  [...docs.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)].filter(found => found[1] === language).map(found => found[2] ?? '')
const file = (name: string) => blocks('yaml').find(text => text.startsWith(`# ${name}`)) ?? ''

describe('docs/policy.md', () => {
  beforeAll(() => {
    write('access.yaml', file('access.yaml'))
    write('policy-cases.yaml', file('policy-cases.yaml'))
  })

  it('shows commands that work, and what they print', { timeout: 60_000 }, async () => {
    const lines = blocks('sh').flatMap(text => text.trim().split('\n'))
    const printed: string[] = []
    for (const line of lines) {
      const { code, stdout, stderr } = await postern(line.split(' ').slice(1), { cwd: folder })
      expect([line, code, stderr]).toEqual([line, 0, ''])
      printed.push(stdout)
    }
    expect(printed.map(text => text.split('\n')[0])).toEqual([
      'app.example.com: deny, no rule lets in',
      'app.example.com: allow, by the rule "staff"',
      'app.example.com: allow, by the rule "deploy jobs"',
      'app.example.com: allow, by the rule "build machines"',
      'app.example.com: allow, by the rule "health"',
      'ok      staff come in from inside',
    ])
    expect([printed[0], printed.at(-1)]).toEqual(blocks('text'))
  })

  it('names every selector that the schema of the API takes', () => {
    const { components } = openApi('1') as unknown as {
      components: { schemas: { SelectorInput: { anyOf: { properties: object }[] } } }
    }
    const names = components.schemas.SelectorInput.anyOf.map(({ properties }) => Object.keys(properties)[0])
    expect(names).toContain('emailDomain')
    for (const name of names) expect(docs).toContain(`| \`${name}: `)
  })
})

describe('postern policy test', () => {
  const access = (rules: string) =>
    write(
      'rules.yaml',
      `version: 1\napplications:\n  - hostname: a.example.com\n    tunnel: home\n    rules:\n${rules}`,
    )
  const tokens = '      - { name: ci, action: service, include: [{ serviceToken: ci }] }\n'
  const cases = (expected: string, more = '') =>
    write(
      'cases.yaml',
      `cases: [{ name: the job, app: a.example.com, serviceToken: ci, expect: ${expected}${more} }]\n`,
    )

  it('ends with 7 where a case is decided otherwise, or by another rule, and says why', async () => {
    const rules = access(tokens)
    const tried = (file: string, ...more: string[]) => run(['policy', 'test', file, '-f', rules, ...more], {})
    expect(await tried(cases('allow', ', rule: ci'))).toMatchObject({ code: 0, stderr: '' })
    const otherwise = await tried(cases('deny'))
    expect(otherwise).toMatchObject({ code: 7, stderr: expect.stringContaining('1 of 1 cases failed') })
    expect(otherwise.stdout).toContain('FAILED  the job: expected deny, got allow by "ci"')
    expect(otherwise.stdout).toContain('service rule "ci": applies')
    const another = await tried(cases('allow', ', rule: other'), '--json')
    expect(another.code).toBe(7)
    expect(failure(another)).toMatchObject({ code: 'TEST_FAILED' })
    expect(JSON.parse(another.stdout)).toMatchObject({
      passed: 0,
      failed: 1,
      cases: [{ name: 'the job', passed: false, expected: { rule: 'other' }, got: { decision: 'allow', rule: 'ci' } }],
    })
  })

  it.each([
    [
      'a rule',
      '      - { name: x, action: allow, include: [{ emailDomain: Example.com }] }\n',
      /:6:9: a.example.com: rule 1: include\[0\]\.emailDomain is not/,
    ],
    [
      'a selector',
      '      - { name: x, action: allow, include: [{ emailDomian: x.com }] }\n',
      /:6:\d+: .* is not known; did you mean emailDomain/,
    ],
  ])('says where %s is wrong, before anything is tried', async (_, rules, where) => {
    const ended = await run(['policy', 'test', cases('allow'), '-f', access(rules)], {})
    expect(ended).toMatchObject({ code: 3, stdout: '', stderr: expect.stringMatching(where) })
  })

  it('says what is wrong in a case, and which applications there are', async () => {
    const rules = access(tokens)
    const wrong = await run(['policy', 'test', cases('maybe'), '-f', rules], {})
    expect(wrong).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/cases\[0\]\.expect is not "allow" or "deny"/),
    })
    const odd = cases('deny', ', certificate: { serial: 1 }')
    expect(await run(['policy', 'test', odd, '-f', rules], {})).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/certificate\.serial is not known/),
    })
    const elsewhere = await run(['policy', 'explain', '--app', 'b.example.com', '-f', rules], {})
    expect(elsewhere).toMatchObject({ code: 20, stderr: expect.stringContaining('It has: a.example.com.') })
  })
})

describe('postern policy explain', () => {
  const rules = () =>
    write(
      'certificates.yaml',
      'version: 1\napplications:\n  - hostname: a.example.com\n    tunnel: home\n    rules:\n' +
        '      - name: both\n        action: allow\n        include: [{ emailDomain: example.com }]\n' +
        '        require: [{ certificate: { ca: laptops, email: ann@example.com } }]\n',
    )
  const shown = (...words: string[]) => words.flatMap(one => ['--certificate', one])

  it('takes a certificate by what it says, beside a person', async () => {
    const ask = async (...more: string[]) =>
      json<{ allow: boolean; signIn: boolean }>(
        await run(['policy', 'explain', '-f', rules(), '--app', 'a.example.com', '--json', ...more], {}),
      )
    const certificate = shown('ca=laptops', 'email=x@example.com', 'email=Ann@example.com')
    expect(await ask('--user', 'ann@example.com', ...certificate)).toMatchObject({ allow: true })
    expect(await ask('--user', 'ann@example.com')).toMatchObject({ allow: false, signIn: false })
    expect(await ask(...certificate)).toMatchObject({ allow: false, signIn: true })
    expect(await ask('--user', 'ann@example.com', ...shown('ca=laptops'))).toMatchObject({ allow: false })
  })

  it.each([
    [['ca'], '--certificate is NAME=VALUE'],
    [['serial=1'], '--certificate says one of ca, '],
    [['ca=a', 'ca=b'], '--certificate says ca twice'],
  ])('refuses what no certificate says: %j', async (words, wrong) => {
    const ended = await run(['policy', 'explain', '-f', rules(), '--app', 'a.example.com', ...shown(...words)], {})
    expect(ended).toMatchObject({ code: 2, stderr: expect.stringContaining(wrong) })
  })

  it('asks the edge where no file is given, and decides as it does', { timeout: 60_000 }, async () => {
    await using world = await startAdminWorld()
    const name = (await world.edge.administration.call('service-token.list', {}))[0]?.name ?? ''
    const explain = async (...more: string[]) =>
      json<{ allow: boolean; rule?: string; verdicts: object[] }>(
        await world.local(['policy', 'explain', '--app', 'db.localhost', '--json', ...more]),
      )
    expect(await explain('--service-token', name)).toMatchObject({ allow: true, verdicts: [{ applies: 'yes' }] })
    expect(await explain('--service-token', 'other')).toMatchObject({ allow: false, verdicts: [{ applies: 'no' }] })
    expect(await explain('--user', 'ann@example.com')).toMatchObject({ allow: false })
  })

  it('reads a claim as JSON or else as text', async () => {
    const include = '[{ claim: { name: level, equals: 3 } }, { claim: { name: role, equals: dev } }]'
    const rules = write(
      'claims.yaml',
      `version: 1\napplications: [{ hostname: a.b, tunnel: t, rules: [{ name: r, action: allow, include: ${include} }] }]`,
    )
    const explain = async (...claims: string[]) => {
      const given = claims.flatMap(one => ['--claim', one])
      return json(
        await run(['policy', 'explain', '--app', 'a.b', '--user', 'a@b.c', ...given, '-f', rules, '--json'], {}),
      )
    }
    expect(await explain('level=3')).toMatchObject({ allow: true })
    expect(await explain('level="3"', 'role=ops')).toMatchObject({ allow: false })
    expect(await explain('role=["ops","dev"]')).toMatchObject({ allow: true })
    expect(await run(['policy', 'explain', '--app', 'a.b', '--claim', 'x', '-f', rules], {})).toMatchObject({ code: 2 })
  })
})
