import { describe, expect, it } from 'vitest'
import {
  covers,
  matches,
  type Pattern,
  readHostnamePattern,
  readPath,
  segmentsOf,
  showPattern,
} from '../src/pattern.ts'

const pattern = (hostname: string | undefined, path = '/'): Pattern => ({
  segments: readPath(path),
  ...(hostname !== undefined && { hostname: readHostnamePattern(hostname) }),
})
const answers = (path: string, url: string) => {
  const segments = segmentsOf(url)
  return segments !== undefined && matches(pattern('a.example.com', path), 'a.example.com', segments)
}

describe('a path', () => {
  it.each([
    ['/', '/'],
    ['/', '/anything/at/all'],
    ['/api', '/api'],
    ['/api', '/api/'],
    ['/api', '/api/users/7'],
    ['/api/*', '/api'],
    ['/api/*', '/api/users'],
    ['/api/', '/api/users'],
    ['/*/admin', '/x/admin/y'],
    ['/*', '/'],
    ['/api', '//api///users'], // as most servers read it
    ['/api', '/%61pi'],
    ['/ü/x', '/%C3%BC/x'],
  ])('%s answers %s', (path, url) => expect(answers(path, url)).toBe(true))

  it.each([
    ['/api', '/'],
    ['/api', '/apis'],
    ['/api', '/x/api'],
    ['/api', '/API'],
    ['/*/admin', '/admin'],
    ['/*/admin', '/x/administrator'],
    ['/api/users', '/api'],
  ])('%s does not answer %s', (path, url) => expect(answers(path, url)).toBe(false))

  // What one server takes for /admin and another for something else is answered by no rule, or a rule for /admin could be passed by.
  it.each([
    '/x%2Fadmin',
    '/x%2fadmin',
    '/x%5Cadmin',
    '/x\\admin',
    '/x\\..\\admin',
    '/x/../admin',
    '/./admin',
    '/x/%2e%2E/admin',
    '/x/.%2e/admin',
    '/%2e%2e%2fadmin',
    '/%00',
    '/%zz',
    '/%E0%80',
  ])('none answers %s', path => expect(segmentsOf(path)).toBeUndefined())

  it.each([
    '',
    'api',
    '^/api',
    'https://x/',
    '/a?b',
    '/a#b',
    '/a b',
    '/a%20b',
    '/a\\b',
    '/a//b',
    '/a/../b',
    '/./a',
    '/a*',
    '/*a/b',
    '/**',
    '/a\n',
  ])('%j is no pattern', text => expect(() => readPath(text)).toThrow(/the path/))
})

describe('a hostname', () => {
  it.each([
    ['db.example.com', 'db.example.com'],
    ['DB.Example.com', 'db.example.com'],
    ['*.example.com', 'x.example.com'],
    ['*.localhost', 'db.localhost'],
    [undefined, 'anything.example.com'],
  ])('%s answers %s', (name, asked) => expect(matches(pattern(name), asked, [])).toBe(true))

  it.each([
    ['db.example.com', 'x.db.example.com'],
    ['*.example.com', 'example.com'],
    ['*.example.com', 'a.b.example.com'], // as a certificate
    ['*.example.com', '.example.com'],
    ['*.example.com', 'x.example.com.evil.com'],
    ['*.example.com', 'xexample.com'],
  ])('%s does not answer %s', (name, asked) => expect(matches(pattern(name), asked, [])).toBe(false))

  it.each([
    '*',
    '*.com',
    'a.*.com',
    '**.example.com',
    '*a.example.com',
    'db.*',
    'db.example.com:22',
    'https://db',
    '',
    '*.',
    '*.1.2.3.4',
    'ｄb.example.com',
  ])('%j is none', text =>
    expect(() => readHostnamePattern(text)).toThrow(expect.objectContaining({ code: 'HOSTNAME_INVALID' })),
  )
})

describe('a rule covers another', () => {
  const all = ['a.example.com', 'b.example.com', '*.example.com', undefined].flatMap(name =>
    ['/', '/api', '/api/users', '/*/users', '/x'].map(path => pattern(name, path)),
  )
  const asked = ['a.example.com', 'b.example.com', 'c.example.com', 'example.org'].flatMap(name =>
    [[], ['api'], ['api', 'users'], ['x', 'users'], ['y'], ['x']].map(segments => [name, segments] as const),
  )

  it('exactly when it answers everything that the other one answers', () => {
    for (const one of all)
      for (const other of all) {
        const everything = asked.every(([name, path]) => !matches(other, name, path) || matches(one, name, path))
        expect([showPattern(one), showPattern(other), covers(one, other)]).toEqual([
          showPattern(one),
          showPattern(other),
          everything,
        ])
      }
  })
})
