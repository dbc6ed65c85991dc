import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { summaryOf, textOf } from '../src/admin/diff.ts'
import { facts, jsonLine, relative, safe, table, validity, yamlOf } from '../src/admin/show.ts'

const NOW = Date.parse('2026-11-21T12:00:00Z')
const at = (seconds: number) => new Date(NOW + seconds * 1000).toISOString()
const OBEYED = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/

describe('what is shown', () => {
  it('is aligned, without space at the end', () => {
    expect(
      table(
        ['A', 'LONG'],
        [
          ['xyz', true],
          [undefined, 7],
          ['', ''],
        ],
      ),
    ).toBe('A    LONG\nxyz  yes\n-    7\n-    -\n')
    expect(table(['A'], [])).toBe('')
    expect(
      facts([
        ['name', 'x'],
        ['missing', undefined],
        ['n', 3],
      ]),
    ).toBe('name  x\nn     3\n')
  })

  it.each([
    [-1, '1 s ago'],
    [-185, '3 min ago'],
    [7200, 'in 2 h'],
    [5 * 86_400, 'in 5 d'],
    [0, 'now'],
  ])('tells %d s as %s', (seconds, text) => expect(relative(at(seconds), NOW)).toBe(text))

  it('tells how long a token is good', () => {
    expect(validity({}, NOW)).toBe('good')
    expect(validity({ expiresAt: at(3600) }, NOW)).toBe('good, expires in 1 h')
    expect(validity({ expiresAt: at(-3600) }, NOW)).toBe('expired 1 h ago')
    expect(validity({ expiresAt: at(3600), revokedAt: at(-60) }, NOW)).toBe('revoked 1 min ago')
  })

  it('is nothing that a terminal obeys, in whatever form, and means the same', async () => {
    const text = fc.string({
      unit: fc.oneof(
        fc.constantFrom('\n', '\u001b', '\u009b', '\u202e', '\r', '"', "'", ' ', '#', ':'),
        fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
      ),
    })
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ name: text, list: fc.array(text, { maxLength: 3 }) }), { maxLength: 3 }),
        async value => {
          expect(safe(JSON.stringify(value))).not.toMatch(OBEYED)
          expect(jsonLine(value)).not.toMatch(OBEYED)
          expect(JSON.parse(jsonLine(value))).toEqual(value)
          const yaml = await yamlOf(value)
          expect(yaml).not.toMatch(OBEYED)
          expect(parse(yaml)).toEqual(value)
        },
      ),
      { numRuns: 500 },
    )
  })
})

describe('a diff', () => {
  const update = (before: object, after: object) =>
    textOf({
      done: false,
      unlisted: [],
      changes: [{ action: 'update', kind: 'application', name: 'a', before, after } as never],
    })

  it('has a line for each member that changes, of rules by their names', () => {
    const rule = (name: string, include: object[]) => ({ name, action: 'allow', include })
    expect(
      update(
        { tunnel: 'x', rules: [rule('one', []), rule('two', [])] },
        { tunnel: 'x', rules: [rule('two', [{ anyServiceToken: true }]), rule('three', [])] },
      ),
    ).toBe(`~ application a
    rules[one]: {"name":"one","action":"allow","include":[]} → nothing
    rules[two].include: [] → [{"anyServiceToken":true}]
    rules[three]: nothing → {"name":"three","action":"allow","include":[]}
`)
  })

  it('tells that only the order changed', () => {
    const [one, two] = [{ name: 'one' }, { name: 'two' }]
    expect(update({ rules: [one, two] }, { rules: [two, one] })).toContain('rules: in the order one, two → two, one')
  })

  it('names as left only what is not removed', () => {
    const unlisted = [
      { kind: 'tunnel', name: 'gone' },
      { kind: 'tunnel', name: 'left' },
    ] as never
    const changes = [{ action: 'delete', kind: 'tunnel', name: 'gone' }] as never
    expect(textOf({ done: false, changes, unlisted })).toBe(
      '- tunnel gone\nnot in the file, and left as they are (--prune removes them):\n    tunnel left\n',
    )
    expect(summaryOf({ done: false, changes, unlisted })).toBe('would be: 0 created, 0 updated, 1 removed')
  })
})
