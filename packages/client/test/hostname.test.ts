import { describe, expect, it } from 'vitest'
import { isLoopbackName, readHostname } from '../src/hostname.ts'

describe('a hostname', () => {
  it.each([
    ['db.example.com', { hostname: 'db.example.com', port: undefined }],
    ['DB.Example.COM', { hostname: 'db.example.com', port: undefined }],
    ['db.localhost:8443', { hostname: 'db.localhost', port: 8443 }],
    ['xn--bcher-kva.example', { hostname: 'xn--bcher-kva.example', port: undefined }],
    ['a', { hostname: 'a', port: undefined }],
  ])('%s is read', (text, expected) => {
    expect(readHostname(text)).toEqual(expected)
  })

  it.each([
    '',
    '.',
    'a.',
    '.a',
    'a..b',
    '-a',
    'a-',
    '-oProxyCommand=x',
    'a b',
    'a\nb',
    'a\u0000',
    '$(id)',
    '`id`',
    '%h',
    'a/b',
    'a@b',
    'a:',
    'a:0',
    'a:65536',
    'a:1:2',
    'a:+1',
    '[::1]',
    '127.0.0.1',
    'ü.example',
    '\u212a.example', // the Kelvin sign, a k in lower case
    `${'a'.repeat(64)}.b`,
    'a.'.repeat(130),
  ])('%j is refused', text => {
    expect(() => readHostname(text)).toThrow(expect.objectContaining({ code: 'HOSTNAME_INVALID' }))
  })

  it.each([
    ['https://db.example.com:8443/', 'without the scheme: db.example.com:8443'],
    ['10.0.0.1', 'An application has a name, not an address'],
    ['[::1]:443', 'An application has a name, not an address'],
    ['a b', 'Use letters, digits, hyphens and dots only'],
  ])('%s is refused with advice', (text, next) => {
    expect(() => readHostname(text)).toThrow(expect.objectContaining({ next: expect.stringContaining(next) }))
  })

  it.each(['localhost', 'a.localhost', 'a.b.localhost', 'localhost.', 'a.localhost.', 'A.LocalHost'])(
    '%s means this machine',
    name => expect(isLoopbackName(name)).toBe(true),
  )

  it.each(['localhost.example', 'notlocalhost', 'localhost..', 'localhost.localdomain', 'a.localhost.example.', ''])(
    '%j does not',
    name => expect(isLoopbackName(name)).toBe(false),
  )
})
