import { X509Certificate } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readLeaf } from '../src/leaf.ts'
import { alternatives, certificate, der, extension, name, oid, seq, text } from './forged.ts'

const refusal = { code: 'AUTH_REJECTED' }

describe('what a leaf says', () => {
  test('typed names, in their order and letters; addresses in one form; other types are passed over', () => {
    const names = alternatives(
      [0x81, 'Ann@Example.com'],
      [0x82, 'xn--bcher-kva.example'],
      [0x86, 'https://team.example/users/a,b'],
      [0x87, '\x0a\x00\x00\x01'],
      [0x87, `\x20\x01\x0d\xb8${'\0'.repeat(11)}\x01`],
      [0x88, '\x2a\x03'],
    )
    expect(readLeaf(certificate({ extensions: [names], serial: '00ab12' }))).toMatchObject({
      commonName: 'leaf',
      san: [
        { type: 'email', value: 'Ann@Example.com' },
        { type: 'dns', value: 'xn--bcher-kva.example' },
        { type: 'uri', value: 'https://team.example/users/a,b' },
        { type: 'ip', value: '10.0.0.1' },
        { type: 'ip', value: '2001:db8::1' },
      ],
      serial: 'ab12',
      subject: 'CN=leaf',
    })
  })

  test('row 89: a common name is no name of a host or mailbox; nothing stands in for what is missing', () => {
    const { san, commonName } = readLeaf(certificate({ subject: name('ann@example.com') }))
    expect(san).toEqual([])
    expect(commonName).toBe('ann@example.com')
    expect(readLeaf(certificate({ subject: seq() })).commonName).toBeUndefined()
  })

  test('row 89: a comma, a quote or an equals sign in a name cannot begin another name', () => {
    for (const [tag, type] of [
      [0x81, 'email'],
      [0x82, 'dns'],
      [0x86, 'uri'],
    ] as const) {
      for (const value of ['a", DNS:b', 'a, DNS:b', 'DNS:a,email:b', '"', '\\"', 'a\\u0041', "'"]) {
        const { san } = readLeaf(certificate({ extensions: [alternatives([tag, value])] }))
        expect(san, value).toEqual([{ type, value }])
      }
    }
    const attributes = seq(
      der(0x31, seq(oid('55040a'), text(0x0c, 'A'))),
      der(0x31, seq(oid('550403'), text(0x0c, 'x,O=B+OU="C\\'))),
    )
    const { subject, commonName } = readLeaf(certificate({ subject: attributes }))
    expect(subject).toBe('CN=x\\,O=B\\+OU=\\"C\\\\,O=A')
    expect(commonName).toBe('x,O=B+OU="C\\')
  })

  test('row 89: NUL and other characters that are not seen are refused in every name, and their twins are not', () => {
    for (const bad of ['good.example\0.evil.example', 'a\nb', 'a\x1b[2Jb', 'a\x7f']) {
      expect(() => readLeaf(certificate({ subject: name(bad) })), JSON.stringify(bad)).toThrow(
        expect.objectContaining(refusal),
      )
      const inOrganization = seq(der(0x31, seq(oid('55040a'), text(0x0c, bad))))
      expect(() => readLeaf(certificate({ subject: inOrganization }))).toThrow(expect.objectContaining(refusal))
      for (const tag of [0x81, 0x82, 0x86])
        expect(() => readLeaf(certificate({ extensions: [alternatives([tag, bad])] }))).toThrow(
          expect.objectContaining(refusal),
        )
    }
    const rightToLeft = name(Buffer.from('a\u202eb').toString('latin1'))
    expect(() => readLeaf(certificate({ subject: rightToLeft }))).toThrow(expect.objectContaining(refusal))
    expect(readLeaf(certificate({ subject: name('C:\\00') })).commonName).toBe('C:\\00')
    expect(readLeaf(certificate({ subject: name(Buffer.from('Zoë').toString('latin1')) })).commonName).toBe('Zoë')
    expect(readLeaf(certificate({ extensions: [alternatives([0x82, 'good.example'])] })).san).toHaveLength(1)
  })

  test('row 89: what is no ASCII is refused where only ASCII can be; so is an address that is none', () => {
    for (const [tag, value] of [
      [0x82, 'b\xfccher.example'],
      [0x81, 'ann@b\xfccher.example'],
      [0x82, ''],
      [0x87, '\x01\x02\x03'],
      [0x87, '\x01\x02\x03\x04\x05\x06\x07\x08'],
    ] as const)
      expect(() => readLeaf(certificate({ extensions: [alternatives([tag, value])] })), value).toThrow(
        expect.objectContaining(refusal),
      )
  })

  test('row 89: a hundred names, and no more; not ten thousand', () => {
    const many = (count: number) =>
      certificate({
        extensions: [alternatives(...Array.from({ length: count }, (_, i) => [0x82, `h${i}.example`] as const))],
      })
    expect(readLeaf(many(100)).san).toHaveLength(100)
    expect(() => readLeaf(many(101))).toThrow(expect.objectContaining(refusal))
    expect(() => readLeaf(many(10_000))).toThrow(expect.objectContaining(refusal))
  })

  test('row 89: OID arcs beyond 2³² are nobody else’s', () => {
    // 2.5.4.(2³² + 3): cut to 32 bits it would be the common name.
    const long = seq(der(0x31, seq(oid('5504908080 8003'.replace(' ', '')), text(0x0c, 'root'))))
    expect(readLeaf(certificate({ subject: long })).commonName).toBeUndefined()
    // 2.5.29.(2³² + 17): cut to 32 bits it would be the alternative names.
    const names = extension('551d9080808011', seq(text(0x81, 'root@example.com')))
    expect(readLeaf(certificate({ extensions: [names] })).san).toEqual([])
  })

  test('row 89: alternative names that are there twice are not read as one of them', () => {
    const twice = certificate({ extensions: [alternatives([0x82, 'a.example']), alternatives([0x82, 'b.example'])] })
    expect(() => readLeaf(twice)).toThrow(expect.objectContaining(refusal))
  })

  test('bytes behind it, no certificate, too large, and a serial below zero', () => {
    const good = certificate({})
    expect(readLeaf(good).fingerprint).toBe(new X509Certificate(good).fingerprint256.replaceAll(':', '').toLowerCase())
    expect(() => readLeaf(Buffer.concat([good, Buffer.from([0])]))).toThrow(expect.objectContaining(refusal))
    expect(() => readLeaf(new Uint8Array(10))).toThrow(expect.objectContaining(refusal))
    const large = extension('2a0304', Buffer.alloc(70_000))
    expect(() => readLeaf(certificate({ extensions: [large] }))).toThrow(expect.objectContaining(refusal))
    expect(() => readLeaf(certificate({ serial: 'ff' }))).toThrow(expect.objectContaining(refusal))
    expect(readLeaf(certificate({ serial: '00ff' })).serial).toBe('ff')
  })

  test('several common names: the most specific; PEM is no DER', () => {
    const two = seq(...['Users', 'Ann'].map(one => der(0x31, seq(oid('550403'), text(0x0c, one)))))
    expect(readLeaf(certificate({ subject: two }))).toMatchObject({ commonName: 'Ann', subject: 'CN=Ann,CN=Users' })
    expect(() => readLeaf(Buffer.from(new X509Certificate(certificate({})).toString()))).toThrow(
      expect.objectContaining(refusal),
    )
  })

  test('any ASCII in any type: exactly that, or a refusal; never another name', () => {
    const value = fc.string({
      unit: fc.integer({ min: 0, max: 255 }).map(code => String.fromCharCode(code)),
      maxLength: 40,
    })
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.constantFrom(0x81, 0x82, 0x86), value), { maxLength: 5 }), names => {
        const made = certificate({ extensions: names.length > 0 ? [alternatives(...names)] : [] })
        const wanted = names.map(([tag, value]) => ({ type: { 129: 'email', 130: 'dns', 134: 'uri' }[tag], value }))
        try {
          expect(readLeaf(made).san).toEqual(wanted)
        } catch (error) {
          expect(error).toMatchObject(refusal)
          expect(names.some(([, value]) => !/^[!-~]+( [!-~]+)*$/.test(value))).toBe(true)
        }
      }),
      { numRuns: 500 },
    )
  })

  test('a certificate with one byte changed: facts, or a refusal', () => {
    const good = certificate({ extensions: [alternatives([0x81, 'ann@example.com'])] })
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const bytes = Uint8Array.from(good)
        bytes[at] = (bytes[at] ?? 0) ^ flip
        try {
          readLeaf(bytes)
        } catch (error) {
          expect(error).toMatchObject(refusal)
        }
      }),
      { numRuns: 1000 },
    )
  })
})
