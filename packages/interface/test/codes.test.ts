import { describe, expect, test } from 'vitest'
import { API_VERSION, CODES, type Code, definePlugin, factsOf, isCode } from '../src/index.ts'

const codes = Object.keys(CODES) as Code[]

describe('the catalogue of errors', () => {
  test.each(codes)('%s can be printed, answered and exited with', code => {
    const { exit, status, title, next } = factsOf(code)
    expect(code).toMatch(/^[A-Z]+(_[A-Z]+)*$/)
    expect(Number.isInteger(exit) && exit >= 1 && exit <= 125).toBe(true) // 126 and up belong to shells
    if (status !== undefined) expect(Number.isInteger(status) && status >= 400 && status <= 599).toBe(true)
    expect(title).toMatch(/^[A-Z].*[^.]$/)
    expect(next).toMatch(/^["a-zA-Z].*[.?]$/)
  })

  test('groups never overlap: every exit status is in the range of its kind', () => {
    const ranges = [
      [1, 9],
      [10, 19],
      [20, 29],
      [30, 39],
      [40, 49],
      [50, 59],
      [60, 69],
      [70, 79],
    ] as const
    for (const code of codes)
      expect(
        ranges.some(([from, to]) => CODES[code].exit >= from && CODES[code].exit <= to),
        code,
      ).toBe(true)
    for (const code of codes)
      expect(code.startsWith('PLUGIN_'), code).toBe(CODES[code].exit >= 50 && CODES[code].exit < 70)
  })

  test('words from outside are codes only if they are', () => {
    expect(isCode('AUTH_REJECTED')).toBe(true)
    for (const word of ['constructor', '__proto__', 'toString', '', 'auth_rejected', 1, null, undefined])
      expect(isCode(word)).toBe(false)
  })
})

describe('definePlugin', () => {
  test('adds the version and changes nothing else', () => {
    const create = () => ({ authenticate: async () => ({}) })
    expect(definePlugin({ kind: 'auth', side: 'client', name: 'x', options: {}, create })).toEqual({
      api: API_VERSION,
      kind: 'auth',
      side: 'client',
      name: 'x',
      options: {},
      create,
    })
    expect(Number.isInteger(API_VERSION)).toBe(true)
  })
})
