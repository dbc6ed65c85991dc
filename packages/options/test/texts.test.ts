import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  camel,
  checkSpecs,
  createRedactor,
  editDistance,
  formatDuration,
  kebab,
  nearest,
  parseDuration,
  renderHelp,
} from '../src/index.ts'

describe('redaction', () => {
  test('takes a secret out of messages and fields, in every form it may have', () => {
    const redactor = createRedactor()
    const secret = 'p"ss wörd/+?'
    redactor.add(secret)
    const forms = [
      secret,
      JSON.stringify(secret),
      encodeURIComponent(secret),
      Buffer.from(secret).toString('base64'),
      Buffer.from(secret).toString('base64url'),
    ]
    for (const form of forms) expect(redactor.scrub(`<${form}>`)).toMatch(/^<"?\[redacted\]"?=*>$/)
    expect(redactor.scrubFields({ a: `x ${secret}`, n: 12345, ok: true, gone: undefined })).toEqual({
      a: 'x [redacted]',
      n: 12345,
      ok: true,
      gone: undefined,
    })
    redactor.add('12345')
    expect(redactor.scrubFields({ n: 12345 })).toEqual({ n: '[redacted]' })
  })

  test('takes out the longer of two secrets first, and each long line of a key', () => {
    const redactor = createRedactor()
    redactor.add('abcd')
    redactor.add('abcdefgh')
    expect(redactor.scrub('abcdefgh abcd')).toBe('[redacted] [redacted]')
    redactor.add('-----BEGIN KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\nshort\n-----END KEY-----\n')
    expect(redactor.scrub('line MC4CAQAwBQYDK2VwBCIEIA; short')).toBe('line [redacted]; short')
  })

  test('a logger in front of another never lets it see one', () => {
    const redactor = createRedactor()
    redactor.add('hunter22')
    const seen: unknown[] = []
    const keep = (...line: unknown[]) => void seen.push(line)
    const log = redactor.logger({ debug: keep, info: keep, warn: keep, error: keep })
    for (const level of ['debug', 'info', 'warn', 'error'] as const)
      log[level]('got hunter22', { hunter22: 'hunter22', other: 1 })
    expect(JSON.stringify(seen)).not.toContain('hunter22')
    expect(seen[0]).toEqual(['got [redacted]', { '[redacted]': '[redacted]', other: 1 }])
  })

  test('whatever the secret is, it is gone, and other text stays', () => {
    fc.assert(
      fc.property(
        fc.string({ minLength: 4, unit: 'binary' }).filter(text => text.trim().length >= 4),
        fc.string(),
        (secret, around) => {
          const redactor = createRedactor()
          redactor.add(secret)
          const rest = redactor.scrub(`${around}${secret.trim()}${around}`).replaceAll('[redacted]', '')
          return !rest.includes(secret.trim()) || '[redacted]'.includes(secret.trim())
        },
      ),
      { numRuns: 500 },
    )
    expect(createRedactor().scrub('untouched')).toBe('untouched')
  })
})

describe('durations', () => {
  test.each([
    ['500ms', 500],
    ['30s', 30_000],
    ['5m', 300_000],
    ['2h', 7_200_000],
    ['7d', 604_800_000],
    ['1h30m', 5_400_000],
    ['0s', 0],
  ])('%s', (text, ms) => {
    expect(parseDuration(text)).toBe(ms)
  })
  test.each(['', '30', 's', '-1s', '1.5s', '30 s', '1m1h', '1w', '999999999999999d'])('%j is none', text => {
    expect(parseDuration(text)).toBeUndefined()
  })
  test('what is formatted can be read back', () => {
    fc.assert(fc.property(fc.integer({ min: 0, max: 10 ** 12 }), ms => parseDuration(formatDuration(ms)) === ms))
  })
})

describe('names', () => {
  test('go from camelCase to flags and back', () => {
    fc.assert(fc.property(fc.stringMatching(/^[a-z]([A-Z]?[a-z]){0,20}$/), name => camel(kebab(name)) === name))
    expect(kebab('caFile')).toBe('ca-file')
  })
  test('the nearest one is near', () => {
    expect(editDistance('secret', 'sercet')).toBe(1)
    expect(editDistance('abc', 'xyz')).toBe(3)
    expect(editDistance('x'.repeat(1000), 'x')).toBe(Number.POSITIVE_INFINITY)
    expect(nearest('hostnam', ['host', 'hostname'])).toBe('hostname')
    expect(nearest('cert', ['hostname'])).toBeUndefined()
    fc.assert(
      fc.property(
        fc.string({ maxLength: 12 }),
        fc.string({ maxLength: 12 }),
        (a, b) => editDistance(a, b) === editDistance(b, a),
      ),
    )
  })
})

describe('specs of others', () => {
  test('that are right have nothing wrong', () => {
    expect(
      checkSpecs({
        caFile: { type: 'path', summary: 'x', env: ['CA'], aliases: ['cacert', 'c'] },
        on: { type: 'boolean', summary: 'x', default: true },
      }),
    ).toEqual([])
  })
  const wrong: [unknown, string][] = [
    [null, 'options is null'],
    [[], 'options is a list'],
    [{ 'ca-file': { type: 'path', summary: 'x' } }, 'is not camelCase'],
    [{ a: 1 }, 'a is 1'],
    [{ a: { type: 'colour', summary: 'x' } }, 'a.type is "colour"'],
    [{ a: { type: 'string' } }, 'a.summary is missing'],
    [{ a: { type: 'string', summary: 'x', requierd: true } }, 'unknown key "requierd"'],
    [{ a: { type: 'string', summary: 'x', required: false } }, 'a.required is false'],
    [{ a: { type: 'number', summary: 'x', default: '1' } }, 'a.default is "1"'],
    [{ a: { type: 'secret', summary: 'x', default: 'abc' } }, 'a.default is "abc"'],
    [{ a: { type: 'string', summary: 'x', default: '1', required: true } }, 'required and has a default'],
    [{ a: { type: 'string', summary: 'x', env: 'A' } }, 'a.env'],
    [{ a: { type: 'string', summary: 'x', aliases: ['--a'] } }, 'a.aliases'],
    [
      { key: { type: 'secret', summary: 'x' }, keyFile: { type: 'path', summary: 'x' } },
      'key and keyFile both make the flag --key-file',
    ],
    [
      { tls: { type: 'boolean', summary: 'x' }, noTls: { type: 'boolean', summary: 'x' } },
      'both make the flag --no-tls',
    ],
  ]
  test.each(wrong)('%j', (specs, message) => {
    expect(checkSpecs(specs).join('; ')).toContain(message)
  })
})

describe('help', () => {
  test('is aligned, with names, defaults and examples', () => {
    const text = renderHelp({
      usage: 'postern access tcp --hostname HOST',
      summary: 'Reach a TCP service.',
      commands: { tcp: { summary: 'any TCP service' } },
      sections: [
        {
          title: 'Options',
          envPrefix: 'POSTERN',
          specs: {
            hostname: { type: 'string', summary: 'the application', required: true },
            listen: { type: 'string', summary: 'local address', aliases: ['L'] },
            grace: { type: 'duration', summary: 'how long to wait', default: 30_000 },
          },
        },
        { title: '--auth service-token', specs: { secret: { type: 'secret', summary: 'the secret', env: ['S'] } } },
        { title: 'Empty', specs: {} },
      ],
      examples: ['postern access tcp --hostname db.example.com'],
    })
    expect(text).toBe(`Reach a TCP service.

Usage: postern access tcp --hostname HOST

Commands:
  tcp   any TCP service

Options:
  --hostname TEXT    the application (required, POSTERN_HOSTNAME)
  -L, --listen TEXT  local address (POSTERN_LISTEN)
  --grace TIME       how long to wait (default 30s, POSTERN_GRACE)

--auth service-token:
  --secret SECRET, --secret-file FILE
        the secret (S[_FILE])

Examples:
  postern access tcp --hostname db.example.com
`)
  })
})
