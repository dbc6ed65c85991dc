import type { Json } from '@postern/interface'
import { describe, expect, it } from 'vitest'
import { showTarget } from '../src/ingress.ts'
import { readIngress, ruleFor } from '../src/ingress-file.ts'
import { Mistakes } from '../src/mistakes.ts'

const PORTS: Readonly<Record<string, number | 'none'>> = {
  tcp: 'none',
  unix: 'none',
  ssh: 22,
  redis: 6379,
  http: 'none',
  https: 'none',
}

function read(ingress: Json | undefined) {
  const file = {
    path: 'f.yaml',
    value: null,
    where: (at: readonly (string | number)[]) => `f.yaml:${Number(at[1] ?? 0) + 1}:${at.length}`,
  }
  const mistakes = new Mistakes(file)
  return { rules: readIngress(file, ingress, scheme => PORTS[scheme], mistakes), mistakes: mistakes.list }
}

const service = 'tcp://localhost:5432'
const hostname = 'db.example.com'

describe('rules', () => {
  it('are read in order, whatever serves them', () => {
    const { rules, mistakes } = read([
      { hostname, service },
      { hostname: 'ssh.example.com', service: 'ssh://localhost' },
      { hostname: 'cache.example.com', service: 'redis://10.0.0.7' },
      { hostname: 'app.example.com', path: '/api/*', service: 'http_status:404' },
      { hostname: 'app.example.com', service: 'http://localhost:8080' },
      { hostname: '*.example.com', service: 'unix:/run/app.sock' },
      { service: 'http_status:404' },
    ])
    expect(mistakes).toEqual([])
    expect(rules.map(rule => [rule.number, rule.hostname, showTarget(rule.service), ...rule.purposes])).toEqual([
      [1, 'db.example.com', 'tcp://localhost:5432', 'tcp'],
      [2, 'ssh.example.com', 'ssh://localhost:22', 'tcp'],
      [3, 'cache.example.com', 'redis://10.0.0.7:6379', 'tcp'],
      [4, 'app.example.com', 'http_status:404', 'http'],
      [5, 'app.example.com', 'http://localhost:8080', 'http'],
      [6, '*.example.com', 'unix:/run/app.sock', 'http'],
      [7, undefined, 'http_status:404', 'tcp', 'http'],
    ])
    const numberOf = (host: string, ...path: string[]) => ruleFor(rules, 'http', host, path)?.number
    expect([numberOf('app.example.com', 'api', 'x'), numberOf('app.example.com'), numberOf('x.example.com')]).toEqual([
      4, 5, 6,
    ])
    expect([ruleFor(rules, 'tcp', 'db.example.com', [])?.number, numberOf('else.example.org')]).toEqual([1, 7])
    expect(numberOf('ssh.example.com')).toBe(6) // requests pass by the rules for bytes
  })
})

it('a socket behind a rule that is HTTP is HTTP as well, or bytes would pass by that rule', () => {
  const socket = { hostname: 'app.example.com', service: 'unix:/run/app.sock' }
  const forbidden = (name: string) => ({ hostname: name, path: '/admin', service: 'http_status:403' })
  const bytes = (...list: Json[]) => read(list).rules.map(rule => rule.purposes.includes('tcp'))
  expect(bytes(socket)).toEqual([true])
  expect(bytes({ ...socket, options: { requireIdentity: true } })).toEqual([false])
  expect(bytes({ ...socket, options: {} })).toEqual([false])
  expect(bytes({ ...socket, path: '/x' })).toEqual([false])
  expect(bytes(forbidden('app.example.com'), socket)).toEqual([false, false])
  expect(bytes(forbidden('*.example.com'), socket)).toEqual([false, false])
  expect(bytes(forbidden('app.example.com'), { ...socket, hostname: '*.example.com' })).toEqual([false, false])
  expect(bytes(forbidden('other.example.com'), socket)).toEqual([false, true])
  expect(bytes(forbidden('*.example.com'), { hostname: 'ssh.example.com', service: 'ssh://localhost' })).toEqual([
    false,
    true,
  ])
})

describe('one hostname', () => {
  const app = 'app.example.com'
  const [ssh, http] = [
    { hostname: app, service: 'ssh://localhost' },
    { hostname: app, service: 'http://localhost:8080' },
  ]

  it('may have a service for bytes and one for requests, in any order: neither shadows the other', () => {
    for (const list of [
      [ssh, http],
      [http, ssh],
    ]) {
      const { rules, mistakes } = read(list)
      expect(mistakes).toEqual([])
      expect(ruleFor(rules, 'tcp', app, [])?.service).toMatchObject({ protocol: 'ssh:' })
      expect(ruleFor(rules, 'http', app, ['x'])?.service).toMatchObject({ protocol: 'http:' })
    }
    expect(read([{ ...http, hostname: '*.example.com' }, ssh]).mistakes).toEqual([])
  })

  it.each([
    ['two for requests', [http, { ...http, service: 'https://localhost' }]],
    ['two for bytes', [ssh, { ...ssh, service: 'tcp://localhost:1' }]],
    ['a socket, which takes both, before either', [{ ...ssh, service: 'unix:/x' }, http]],
    ['a status, which answers all of it, before either', [{ ...ssh, service: 'http_status:404' }, ssh]],
  ])('not %s', (_what, list) => {
    expect(read(list).mistakes).toEqual([expect.stringContaining('rule 2 (app.example.com) is never reached')])
  })
})

describe('what cannot be', () => {
  it.each<[string, Json | undefined, string]>([
    ['no list', undefined, 'there is no ingress'],
    ['null', null, 'there is no ingress'],
    ['an empty list, which would take everything away', [], 'not a list of rules'],
    ['one rule that is no list', { hostname, service }, 'not a list of rules'],
    ['a rule that is a text', [`${hostname} ${service}`], 'a rule has hostname and service'],
    ['a rule without service', [{ hostname }], 'has no service'],
    ['a rule without hostname', [{ service }], 'has no hostname'],
    ['a rule for all that is not the last', [{ service: 'http_status:404' }, { hostname, service }], 'has no hostname'],
    ['a hostname that is a number', [{ hostname: 5, service }], 'hostname is not a text'],
    ['an empty hostname', [{ hostname: '', service }], 'hostname is not a text'],
    [
      'an unknown key',
      [{ hostname, service, hostnam: 'x' }],
      '"hostnam" is not a key of a rule; did you mean hostname?',
    ],
    ['options as cloudflared has them', [{ hostname, service, originRequest: {} }], '"originRequest" is not a key'],
    ['options of bytes', [{ hostname, service, options: {} }], 'options are of HTTP services; tcp: carries bytes'],
    ['options that are no keys', [{ hostname, service: 'http://x', options: ['http2'] }], 'not a list of keys'],
    ['an unknown scheme', [{ hostname, service: 'ftp://localhost' }], 'has the scheme ftp:'],
    ['a service without port', [{ hostname, service: 'tcp://localhost' }], 'names no port'],
    ['a service with a user', [{ hostname, service: 'tcp://u:hunter2@localhost:1' }], 'user or password'],
    ['a service with a path', [{ hostname, service: 'tcp://localhost:1/x' }], 'has a path'],
    ['a socket that is not absolute', [{ hostname, service: 'unix:app.sock' }], 'absolute path'],
    ['a status that is none', [{ hostname, service: 'http_status:99' }], 'no status'],
    ['a status with more behind it', [{ hostname, service: 'http_status:404x' }], 'no status'],
    ['a path of a service of bytes', [{ hostname, service, path: '/x' }], 'a path is part of HTTP'],
    [
      'a path that is a regular expression',
      [{ hostname, service: 'http_status:404', path: '^/x$' }],
      'does not begin with /',
    ],
    ['a wildcard in the middle', [{ hostname: 'a.*.com', service }], 'whole first label'],
    ['a port in a hostname', [{ hostname: `${hostname}:22`, service }], 'has a port'],
    [
      'a duplicate',
      [
        { hostname, service },
        { hostname, service: 'ssh://localhost' },
      ],
      'rule 1 is for the same',
    ],
    [
      'a duplicate in other letters',
      [
        { hostname, service },
        { hostname: 'DB.example.com', service },
      ],
      'rule 1 is for the same',
    ],
    [
      'a rule behind a wildcard',
      [
        { hostname: '*.example.com', service },
        { hostname, service },
      ],
      'rule 1 (*.example.com) answers all of it',
    ],
    [
      'too many',
      Array.from({ length: 1001 }, (_, n) => ({ hostname: `h${n}.example.com`, service })),
      'more than 1000 rules',
    ],
  ])('%s', (_what, ingress, said) => {
    const { mistakes } = read(ingress)
    expect(mistakes).toHaveLength(1)
    expect(mistakes[0]).toContain(said)
    expect(mistakes[0]).not.toContain('hunter2')
  })

  it('is said all at once, each with its place, and good rules are still read', () => {
    const { rules, mistakes } = read([
      { hostname: 'a..b', service: 'ftp://x' },
      { hostname, service },
      { hostname: 'x.example.com', path: '/a*', service: 'http_status:1', extra: 1 },
    ])
    expect(mistakes.map(one => one.slice(0, 'f.yaml:1:3'.length))).toEqual([
      'f.yaml:1:3',
      'f.yaml:1:3',
      'f.yaml:3:3',
      'f.yaml:3:3',
      'f.yaml:3:3',
    ])
    expect(rules).toHaveLength(1)
  })

  it('is not the special one before the general one', () => {
    expect(
      read([
        { hostname, service },
        { hostname: '*.example.com', service },
      ]).mistakes,
    ).toEqual([])
  })
})
