import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { countedAddress } from '../src/front/address.ts'
import { isHostname, requestedHostname } from '../src/front/hostname.ts'

describe('row 81: the hostname a request is for', () => {
  test.each([
    ['db.localhost', 'db.localhost'],
    ['DB.LocalHost', 'db.localhost'],
    ['db.localhost:8443', 'db.localhost'],
    ['xn--bcher-kva.example', 'xn--bcher-kva.example'],
    ['a', 'a'],
    [`${'a'.repeat(63)}.b`, `${'a'.repeat(63)}.b`],
  ])('%j is read', (host, hostname) => {
    expect(requestedHostname([host], '/')).toBe(hostname)
  })

  test.each([
    '',
    ' ',
    'db.localhost.',
    '.db.localhost',
    'db..localhost',
    '-oProxyCommand=calc',
    '$(id)',
    '`id`',
    'db.localhost\n',
    'db\0.localhost',
    'db.localhost,other.localhost',
    'user@db.localhost',
    'db.localhost/',
    'db.localhost:',
    'db.localhost:0',
    'db.localhost:65536',
    'db.localhost:08443',
    'db.localhost:1:2',
    'db_x.localhost',
    '-db.localhost',
    'db-.localhost',
    'bücher.example',
    'ｄb.localhost',
    '\u212a.localhost',
    '[::1]:8443',
    `${'a'.repeat(64)}.b`,
    `${'a.'.repeat(127)}aa`,
  ])('%j is refused', host => {
    expect(() => requestedHostname([host], '/')).toThrow(expect.objectContaining({ code: 'HOSTNAME_INVALID' }))
  })

  test('two Hosts, none, and a target of another host are refused; the same one is not', () => {
    const refused = expect.objectContaining({ code: 'HOSTNAME_INVALID' })
    expect(() => requestedHostname(['a.b', 'a.b'], '/')).toThrow(refused)
    expect(() => requestedHostname([], '/')).toThrow(refused)
    expect(() => requestedHostname(undefined, '/')).toThrow(refused)
    expect(() => requestedHostname(['a.b'], 'https://c.d/')).toThrow(refused)
    expect(() => requestedHostname(['a.b'], 'https://a.b:8443/')).toThrow(refused)
    expect(() => requestedHostname(['a.b'], 'https://u@a.b/')).toThrow(refused)
    expect(() => requestedHostname(['a.b'], 'c.d:443')).toThrow(refused)
    expect(() => requestedHostname(['a.b'], 'ftp://a.b/')).toThrow(refused)
    expect(requestedHostname(['a.b:8443'], 'https://A.b:8443/x?y')).toBe('a.b')
    expect(requestedHostname(['a.b'], '*')).toBe('a.b')
  })

  test('whatever is read is a hostname, and reading it again changes nothing', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 40, unit: fc.constantFrom(...'aZ0-._:@é, ') }), host => {
        let hostname: string
        try {
          hostname = requestedHostname([host], '/')
        } catch {
          return
        }
        expect(isHostname(hostname)).toBe(true)
        expect(requestedHostname([hostname], '/')).toBe(hostname)
      }),
    )
  })
})

test.each([
  ['127.0.0.1', '127.0.0.1'],
  ['::ffff:127.0.0.1', '127.0.0.1'],
  ['::1', '0:0:0:0::/64'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:0DB8:1:2::9', '2001:db8:1:2::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ['', ''],
])('%s counts as %s', (address, counted) => {
  expect(countedAddress(address)).toBe(counted)
})
