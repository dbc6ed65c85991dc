import { describe, expect, it } from 'vitest'
import { readForward, readLocalAddress, refuseTwice } from '../src/local-address.ts'

const read = (text: string) => readLocalAddress(text, '--url', '/home/me')

describe('a local address', () => {
  it.each([
    ['5432', { host: '127.0.0.1', port: 5432 }],
    [':5432', { host: '127.0.0.1', port: 5432 }],
    ['localhost:5432', { host: '127.0.0.1', port: 5432 }],
    ['db.localhost.:0', { host: '127.0.0.1', port: 0 }],
    ['127.0.0.2:1', { host: '127.0.0.2', port: 1 }],
    ['[::1]:5432', { host: '::1', port: 5432 }],
    ['*:5432', { host: '0.0.0.0', port: 5432 }],
    ['tcp://localhost:5432', { host: '127.0.0.1', port: 5432 }],
    ['/run/db.sock', { path: '/run/db.sock' }],
    ['./db.sock', { path: '/home/me/db.sock' }],
    ['unix:db.sock', { path: '/home/me/db.sock' }],
    ['unix:/run/db.sock', { path: '/run/db.sock' }],
    ['unix:///run/db.sock', { path: '/run/db.sock' }],
  ])('%s', (text, address) => expect(read(text)).toEqual(address))

  it.each([
    '',
    'localhost',
    'localhost:70000',
    'http://x/y',
    'a:b:c',
    '$(id):80',
    'localhost:-1',
    '2130706433:80',
    '1:80',
  ])('%j is none', text => expect(() => read(text)).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' })))
})

describe('a forward', () => {
  const loopback = (port: number) => ({ host: '127.0.0.1', port })
  it.each([
    ['5432:db.example.com', { local: loopback(5432), hostname: 'db.example.com' }],
    ['0:db.example.com', { local: loopback(0), hostname: 'db.example.com' }],
    [':5432:db.example.com', { local: loopback(5432), hostname: 'db.example.com' }],
    ['8022:ssh.example.com:8443', { local: loopback(8022), hostname: 'ssh.example.com:8443' }],
    ['localhost:8022:ssh.example.com:8443', { local: loopback(8022), hostname: 'ssh.example.com:8443' }],
    ['*:5432:db', { local: { host: '0.0.0.0', port: 5432 }, hostname: 'db' }],
    ['[::1]:5432:db.example.com:8443', { local: { host: '::1', port: 5432 }, hostname: 'db.example.com:8443' }],
    ['/run/db.sock:db.example.com', { local: { path: '/run/db.sock' }, hostname: 'db.example.com' }],
    ['./a:1/b.sock:db.example.com:8443', { local: { path: '/home/me/a:1/b.sock' }, hostname: 'db.example.com:8443' }],
    ['unix:db.sock:db.example.com', { local: { path: '/home/me/db.sock' }, hostname: 'db.example.com' }],
  ])('%s', (text, forward) => expect(readForward(text, '/home/me')).toEqual(forward))

  it.each([
    '',
    '5432',
    'db.example.com',
    'db.example.com:5432',
    '5432:',
    ':db.example.com',
    '/run/db.sock',
    '5432:a/b',
    '5432:db:x',
  ])('%j is none, and how to write one is said', text =>
    expect(() => readForward(text, '/')).toThrow(
      expect.objectContaining({ code: 'OPTION_INVALID', next: expect.stringContaining('-L 5432:db.example.com') }),
    ),
  )

  it.each([
    ['5432:$(id)', 'HOSTNAME_INVALID'],
    ['5432:127.0.0.1', 'HOSTNAME_INVALID'],
    ['5432:db:0', 'HOSTNAME_INVALID'],
    ['5432:5433:db', 'OPTION_INVALID'],
    ['70000:db', 'OPTION_INVALID'],
  ])('%j is %s', (text, code) => expect(() => readForward(text, '/')).toThrow(expect.objectContaining({ code })))
})

describe('two forwards', () => {
  const both = (a: string, b: string) => () => refuseTwice([readForward(a, '/x'), readForward(b, '/x')])
  it.each([
    ['5432:a', '5432:b'],
    ['localhost:5432:a', '127.0.0.1:5432:b'],
    ['*:5432:a', '5432:b'],
    ['./s.sock:a', '/x/s.sock:b'],
  ])('%s and %s cannot both be', (a, b) => {
    expect(both(a, b)).toThrow(expect.objectContaining({ code: 'OPTION_CONFLICT' }))
  })

  it.each([
    ['5432:a', '5433:a'],
    ['0:a', '0:b'],
    ['127.0.0.1:5432:a', '127.0.0.2:5432:b'],
    ['./s.sock:a', './t.sock:b'],
  ])('%s and %s can', (a, b) => expect(both(a, b)).not.toThrow())
})
