import type { Json } from '@postern/interface'
import { describe, expect, it } from 'vitest'
import { isSshPrincipal, readSshPermit } from '../../src/ssh/permit.ts'

describe('what a rule permits under ssh', () => {
  it.each([
    [{}],
    [{ principals: ['deploy'] }],
    [{ principals: ['root', { claim: 'unix_name' }], seconds: 86_400 }],
    [{ principals: ['deploy', { emailLocalPart: 'xn--bcher-kva.example' }] }],
    [{ extensions: [] }],
    [{ extensions: ['permit-pty'], seconds: 60, forceCommand: '/usr/bin/backup --all' }],
  ] as Json[][])('may be %j', (permit = null) => {
    expect(readSshPermit(permit)).toEqual({ permit })
  })

  it.each([
    [null, /not an object/],
    [['deploy'], /not an object/],
    [{ principal: ['deploy'] }, /not known: "principal"/],
    [{ principals: 'deploy' }, /a list of 1–32/],
    [{ principals: [] }, /a list of 1–32/],
    [{ principals: ['a,b'] }, /principals\[0\]/],
    [{ principals: ['ok', 'a\nb'] }, /principals\[1\]/],
    [{ principals: [{ claim: '' }] }, /principals\[0\]/],
    [{ principals: [{ claim: 'a', or: 'b' }] }, /principals\[0\]/],
    [{ principals: [{}] }, /principals\[0\]/],
    [{ principals: [7] }, /principals\[0\]/],
    [{ principals: [{ emailLocalPart: true }] }, /principals\[0\]/],
    [{ principals: [{ emailLocalPart: '' }] }, /principals\[0\]/],
    [{ principals: [{ emailLocalPart: 'com' }] }, /principals\[0\]/],
    [{ principals: [{ emailLocalPart: 'Example.com' }] }, /principals\[0\]/],
    [{ principals: [{ emailLocalPart: '*.example.com' }] }, /principals\[0\]/],
    [{ principals: [{ emailLocalPart: 'example.com.' }] }, /principals\[0\]/],
    [{ principals: [{ emailLocalPart: '@example.com' }] }, /principals\[0\]/],
    [{ principals: [{ emailLocalPart: 'bücher.example' }] }, /principals\[0\]/],
    [{ principals: [{ emailLocalPart: ['example.com'] }] }, /principals\[0\]/],
    [{ principals: [{ emailLocalPart: 'example.com', claim: 'name' }] }, /principals\[0\]/],
    [{ extensions: ['permit-everything'] }, /extensions is a list/],
    [{ extensions: ['permit-pty', 'permit-pty'] }, /extensions is a list/],
    [{ seconds: 59 }, /60 to 86400/],
    [{ seconds: 86_401 }, /60 to 86400/],
    [{ seconds: 300.5 }, /60 to 86400/],
    [{ seconds: '300' }, /60 to 86400/],
    [{ forceCommand: '' }, /forceCommand/],
    [{ forceCommand: 'true\nfalse' }, /forceCommand/],
  ] as [Json, RegExp][])('may not be %j', (permit, why) => {
    const read = readSshPermit(permit)
    expect('wrong' in read && read.wrong.join('; ')).toMatch(why)
  })

  it.each(['ann', 'Ann.B', '_chrony', 'deploy@prod', 'a+b', '1st'])('%s can be a name', name => {
    expect(isSshPrincipal(name)).toBe(true)
  })

  it.each([
    '',
    '-l',
    '.ann',
    '@x',
    'a b',
    'a,b',
    'a\nb',
    'a\0b',
    'a"b',
    'a#b',
    'a\\b',
    'a:b',
    '$(id)',
    'rооt',
    'x'.repeat(65),
  ])('%j cannot', name => {
    expect(isSshPrincipal(name)).toBe(false)
  })
})
