import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { canonicalTarget } from '../src/front/target.ts'

const refused = expect.objectContaining({ code: 'BAD_USAGE' })

describe('row 51: one spelling of a path', () => {
  test.each([
    ['/', '/'],
    ['/a/b/', '/a/b/'],
    ['/a%20b', '/a%20b'],
    ['/a%2bb+c', '/a%2Bb+c'],
    ['/%61dmin', '/admin'],
    ['/%7Euser', '/~user'],
    ['/caf%c3%a9', '/caf%C3%A9'],
    ['/%F0%9F%90%99', '/%F0%9F%90%99'],
    ['/cafe%CC%81', '/cafe%CC%81'],
    ['/100%25', '/100%25'],
    ['/a;v=1/b', '/a;v=1/b'],
    ["/a:b/@c/$d&e=f,(g)!'*", "/a:b/@c/$d&e=f,(g)!'*"],
    ['/...', '/...'],
    ['/.well-known/x', '/.well-known/x'],
    ['/a..b/..c/d..', '/a..b/..c/d..'],
    ['/?', '/?'],
    ['/a?b=//c/../d&e=%2F%2e%00', '/a?b=//c/../d&e=%2F%2e%00'],
    ['/a?b?c', '/a?b?c'],
    ['/a?100%', '/a?100%'],
    ['/[a]|{b}', '/[a]|{b}'],
    ['https://db.localhost', '/'],
    ['https://db.localhost?x', '/?x'],
    ['HTTPS://db.localhost:8443/%61?b', '/a?b'],
  ])('%s is read as %s', (sent, read) => {
    expect(canonicalTarget(sent)).toBe(read)
  })

  test.each([
    '/public/../admin',
    '/public/%2e%2e/admin',
    '/public/.%2E/admin',
    '/public/..;/admin',
    '/public/..;x=y/admin',
    '/public/%2e%2e;/admin',
    '/public/..%3b/admin',
    '/admin/.',
    '/admin/..',
    '/./admin',
    '//admin',
    '/public//admin',
    '/admin//',
    '/admin%2f',
    '/admin%2F..%2Fpublic',
    '/admin%5c',
    '/public\\..\\admin',
    '/admin%00',
    '/admin%0d%0aX:%20y',
    '/admin%09',
    '/admin%7f',
    '/admin#/public',
    '/a?b#c',
    '/public%252e%252e/admin',
    '/admin%252f',
    '/%2561dmin',
    '/%25%36%31dmin',
    '/%25%41dmin',
    '/%c0%af',
    '/%c0%ae%c0%ae/admin',
    '/%e0%80%af',
    '/%ed%a0%80',
    '/%ff',
    '/%c3',
    '/public/%EF%BC%8E%EF%BC%8E/admin',
    '/public%EF%BC%8Fadmin',
    '/public%EF%BC%BCadmin',
    '/%EF%BC%852e',
    '/public／admin',
    '/caf\u00e9',
    '/a b',
    '/a\tb',
    '/a?b c',
    '/a?b\r\nX: y',
    '/a\0',
    '/100%',
    '/%zz',
    '/%4',
    '',
    '*',
    'admin',
    'db.localhost:443',
    'ftp://db.localhost/',
    'https://db.localhost\\@other/',
    'https://db.localhost/public/../admin',
  ])('%j is refused', sent => {
    expect(() => canonicalTarget(sent)).toThrow(refused)
  })

  test('`/public%23/../admin` is refused for its dots; the twin without them is a name with a # in it', () => {
    expect(() => canonicalTarget('/public%23/../admin')).toThrow(refused)
    expect(canonicalTarget('/public%23')).toBe('/public%23')
  })

  test('whatever is read has its spelling already, and no server that decodes it once finds another segment', () => {
    const unit = fc.constantFrom(...'aA0-._~/;%2eE5cFf3?#\\: é', '%2e', '%2F', '%C3%A9', '%41', '%25', '/../', '／')
    fc.assert(
      fc.property(fc.string({ maxLength: 24, unit }), text => {
        let read: string
        try {
          read = canonicalTarget(`/${text}`)
        } catch {
          return
        }
        expect(canonicalTarget(read)).toBe(read)
        const [path = ''] = read.split('?', 1)
        expect(new URL(path, 'https://a.b').pathname).toBe(path)
        const decoded = decodeURIComponent(path)
        expect(decoded.split('/')).toHaveLength(path.split('/').length)
        expect(decoded.split('/')).not.toContain('..')
      }),
      { numRuns: 2000 },
    )
  })
})
