import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { createAuthority } from '../src/authority.ts'
import { readLeaf } from '../src/leaf.ts'
import { readRevocationList } from '../src/revocation-list.ts'
import * as forged from './forged.ts'

const { certificate, der, extension, integer, name, noOpenssl, oid, openssl, pemOf, seq, time, YES } = forged

const refusal = { code: 'CONFIG_INVALID' }
const HOUR = 3_600_000
const isCa = extension('551d13', seq(YES), true)
const ca = pemOf(certificate({ subject: name('CA'), extensions: [isCa] }), 'CERTIFICATE')
const entry = (serial: string, ...more: readonly Uint8Array[]) =>
  seq(integer(serial), time(Date.now()), ...(more.length > 0 ? [seq(...more)] : []))

interface List {
  readonly issuer?: Uint8Array
  readonly thisUpdate?: number
  readonly nextUpdate?: number | undefined
  readonly entries?: readonly Uint8Array[]
  readonly extensions?: readonly Uint8Array[]
  readonly signer?: KeyObject
}

function list(facts: List = {}): Buffer {
  const { issuer = name('CA'), thisUpdate = Date.now() - HOUR, entries = [entry('0a')], extensions = [] } = facts
  const nextUpdate = 'nextUpdate' in facts ? facts.nextUpdate : Date.now() + HOUR
  const body = seq(
    integer('01'),
    forged.ECDSA_SHA256,
    issuer,
    time(thisUpdate),
    ...(nextUpdate === undefined ? [] : [time(nextUpdate)]),
    ...(entries.length > 0 ? [der(0x30, Buffer.concat(entries))] : []),
    ...(extensions.length > 0 ? [der(0xa0, seq(...extensions))] : []),
  )
  return forged.signed(body, facts.signer)
}

const number = (value: string) => extension('551d14', integer(value))
const read = (facts?: List, authorities = ca) => readRevocationList(list(facts), authorities)

describe('a revocation list', () => {
  test('what it says, as DER and as PEM', async () => {
    const made = list({ entries: [entry('0a'), entry('00ff01')], extensions: [number('0100')] })
    const facts = { issuer: 'CN=CA', number: 256n, serials: ['0a', 'ff01'] }
    const pem = pemOf(made, 'X509 CRL')
    for (const one of [made, pem, Buffer.from(pem)]) expect(await readRevocationList(one, ca)).toMatchObject(facts)
    const { thisUpdate, nextUpdate = 0 } = await readRevocationList(made, ca)
    expect(Math.abs(thisUpdate - Date.now() + HOUR)).toBeLessThan(60_000)
    expect(Math.abs(nextUpdate - Date.now() - HOUR)).toBeLessThan(60_000)
  })

  test('nobody revoked; no next one named', async () => {
    const facts = await read({ entries: [], nextUpdate: undefined })
    expect(facts.serials).toEqual([])
    expect(facts.nextUpdate).toBeUndefined()
  })

  test('its serials are those of leaves, as readLeaf writes them', async () => {
    for (const serial of ['01', '00ff', '7f00', '0080ff']) {
      const { serials } = await read({ entries: [entry(serial)] })
      expect(serials).toEqual([readLeaf(certificate({ serial })).serial])
    }
  })

  test('row 87: out of date, or of tomorrow', async () => {
    await expect(read({ nextUpdate: Date.now() - 2000 })).rejects.toThrow(/out of date/)
    await expect(read({ thisUpdate: Date.now() + HOUR, nextUpdate: Date.now() + 2 * HOUR })).rejects.toMatchObject(
      refusal,
    )
    await expect(read()).resolves.toBeDefined()
  })

  test('row 87: of another CA; of a CA of the same name; not signed by it; of a CA that may not', async () => {
    await expect(read({ issuer: name('Other') })).rejects.toThrow(/another CA/)
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    await expect(read({ signer: privateKey })).rejects.toThrow(/not signed/)
    const twin = await createAuthority({ commonName: 'CA', days: 1 })
    await expect(read({}, twin.cert)).rejects.toThrow(/not signed/)
    // During a rotation both are there: whichever signed it.
    await expect(read({}, twin.cert + ca)).resolves.toBeDefined()
    const usage = (bits: string) => extension('551d0f', Buffer.from(`0302${bits}`, 'hex'), true)
    const may = (bits: string) =>
      pemOf(certificate({ subject: name('CA'), extensions: [isCa, usage(bits)] }), 'CERTIFICATE')
    await expect(read({}, may('0204'))).rejects.toMatchObject(refusal)
    await expect(read({}, may('0106'))).resolves.toBeDefined()
    await expect(read({}, '')).rejects.toMatchObject(refusal)
  })

  test('row 87: a delta, a list of a part, what is critical and not known; not critical, it is passed over', async () => {
    const anything = Buffer.from('0500', 'hex')
    for (const isCritical of [true, false]) {
      await expect(read({ extensions: [extension('551d1b', integer('01'), isCritical)] })).rejects.toThrow(/delta/)
      await expect(read({ extensions: [extension('551d1c', seq(), isCritical)] })).rejects.toThrow(/part/)
    }
    await expect(read({ extensions: [extension('2a0304', anything, true)] })).rejects.toThrow(/critical/)
    await expect(read({ extensions: [extension('2a0304', anything)] })).resolves.toBeDefined()
    await expect(read({ entries: [entry('0a', extension('551d1d', seq(), true))] })).rejects.toThrow(/critical/)
    const reason = extension('551d15', Buffer.from('0a0101', 'hex'))
    expect(await read({ entries: [entry('0a', reason)] })).toMatchObject({ serials: ['0a'] })
  })

  test('another thing, two, too large, cut off, and with more behind it', async () => {
    const pem = pemOf(list(), 'X509 CRL')
    const bad = ['', ca, pem + pem, 'x'.repeat(2e7), new Uint8Array(13e6), new Uint8Array(), list().subarray(0, -1)]
    for (const one of [...bad, Buffer.concat([list(), Buffer.from([0])]), seq(seq(oid('2a')), seq(), der(3))])
      await expect(readRevocationList(one, ca)).rejects.toMatchObject(refusal)
  })

  test('200,000 serials, and not one more', async () => {
    const entries = Array.from({ length: 200_001 }, (_, i) => entry(`4${i.toString(16).padStart(7, '0')}`))
    const { serials } = await read({ entries: entries.slice(1) })
    expect(new Set(serials).size).toBe(200_000)
    expect(serials[199_999]).toBe('40030d40')
    await expect(read({ entries })).rejects.toMatchObject(refusal)
  })

  test('one byte changed: never another list', async () => {
    const made = list({ entries: [entry('0a'), entry('0b')], extensions: [number('05')] })
    const { serials } = await readRevocationList(made, ca)
    await fc.assert(
      fc.asyncProperty(fc.nat(made.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
        const bytes = Uint8Array.from(made)
        bytes[at] = (bytes[at] ?? 0) ^ flip
        const found = await readRevocationList(bytes, ca).catch((error: unknown) => error)
        if (found instanceof Error) expect(found).toMatchObject(refusal)
        else expect(found).toMatchObject({ serials, number: 5n })
      }),
      { numRuns: 500 },
    )
  })
})

const folder = mkdtempSync(join(tmpdir(), 'postern-crl-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe.skipIf(noOpenssl)('the lists of openssl ca', () => {
  test.each(['ec', 'rsa'] as const)('%s: with reasons and a number', async keyType => {
    const authority = await createAuthority({ commonName: 'CA', days: 9, keyType })
    const at = (name: string) => join(folder, `${keyType}-${name}`)
    writeFileSync(at('ca.pem'), authority.cert)
    writeFileSync(at('key.pem'), authority.key)
    writeFileSync(at('number'), '1000\n')
    const revoked = (serial: string, reason: string) =>
      `R\t270101000000Z\t261101000000Z${reason}\t${serial}\tunknown\t/CN=${serial}\n`
    writeFileSync(
      at('index'),
      `${revoked('0A', ',keyCompromise')}${revoked('4BCDEF', '')}V\t270101000000Z\t\t0C\tunknown\t/CN=c\n`,
    )
    writeFileSync(
      at('conf'),
      `[ca]\ndefault_ca=a\n[a]\ndatabase=${at('index')}\ncrlnumber=${at('number')}\ndefault_md=sha256\n` +
        `certificate=${at('ca.pem')}\nprivate_key=${at('key.pem')}\n`,
    )
    const make = (...more: readonly string[]) => openssl('ca', '-config', at('conf'), '-gencrl', ...more)
    const strip = (text: string) => text.slice(text.indexOf('-----BEGIN'))
    expect(await readRevocationList(strip(await make('-crldays', '3')), authority.cert)).toMatchObject({
      issuer: 'CN=CA',
      number: 0x1000n,
      serials: ['0a', '4bcdef'],
    })
    const sha1 = strip(await make('-crldays', '3', '-md', 'sha1'))
    await expect(readRevocationList(sha1, authority.cert)).rejects.toThrow(/not signed/)
  })
})
