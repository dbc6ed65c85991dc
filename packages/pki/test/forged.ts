import { execFile } from 'node:child_process'
import { createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll } from 'vitest'

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')
/** Tests by the command line of OpenSSL are skipped, by name, where it is missing. */
export const noOpenssl: boolean = !peers.includes('openssl')

const run = promisify(execFile)
const folder = mkdtempSync(join(tmpdir(), 'postern-pki-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
let files = 0

/** A file of the test, for a program that reads files. */
export function file(content: string | Uint8Array = ''): string {
  files += 1
  const path = join(folder, String(files))
  writeFileSync(path, content)
  return path
}

/** @returns what it printed, to both; rejects when it fails */
export async function openssl(...args: readonly string[]): Promise<string> {
  const { stdout, stderr } = await run('openssl', [...args], { timeout: 60_000 })
  return stdout + stderr
}

/** Just enough of a writer to make what no tool would: everything here is wrong in one way. */
export function der(tag: number, ...content: readonly Uint8Array[]): Buffer {
  const value = Buffer.concat(content)
  const digits = value.length.toString(16)
  const size = Buffer.from(digits.length % 2 ? `0${digits}` : digits, 'hex')
  return Buffer.concat([
    Buffer.from(value.length < 128 ? [tag, value.length] : [tag, 0x80 + size.length, ...size]),
    value,
  ])
}

export const seq = (...content: readonly Uint8Array[]): Buffer => der(0x30, ...content)
export const oid = (hex: string): Buffer => der(0x06, Buffer.from(hex, 'hex'))
export const integer = (hex: string): Buffer => der(0x02, Buffer.from(hex, 'hex'))
export const text = (tag: number, value: string): Buffer => der(tag, Buffer.from(value, 'latin1'))
export const YES: Buffer = der(0x01, Buffer.from([0xff]))

export function extension(id: string, value: Uint8Array, isCritical = false): Buffer {
  return seq(oid(id), ...(isCritical ? [YES] : []), der(0x04, value))
}

/** A name with one common name. */
export function name(commonName: string, tag = 0x0c): Buffer {
  return seq(der(0x31, seq(oid('550403'), text(tag, commonName))))
}

export function time(at: number): Buffer {
  return text(0x17, `${new Date(at).toISOString().replace(/[-:T]/g, '').slice(2, 14)}Z`)
}

export const ECDSA_SHA256: Buffer = seq(oid('2a8648ce3d040302'))
export const keys: { readonly publicKey: KeyObject; readonly privateKey: KeyObject } = generateKeyPairSync('ec', {
  namedCurve: 'P-256',
})

/** Signed by {@link keys}, whoever the issuer is said to be. */
export function signed(body: Uint8Array, signer: KeyObject = keys.privateKey): Buffer {
  return seq(body, ECDSA_SHA256, der(0x03, Buffer.from([0]), sign('sha256', body, signer)))
}

export interface Forged {
  readonly serial?: string
  readonly subject?: Uint8Array
  readonly issuer?: Uint8Array
  readonly publicKey?: KeyObject
  readonly extensions?: readonly Uint8Array[]
  /** Default {@link keys}. */
  readonly signer?: KeyObject
  /** Milliseconds since the epoch. Default: in an hour. */
  readonly notAfter?: number
}

/** A certificate with anything in it. @returns DER */
export function certificate(facts: Forged): Uint8Array {
  const { serial = '4a', subject = name('leaf'), issuer = subject, publicKey = keys.publicKey, extensions = [] } = facts
  const notAfter = facts.notAfter ?? Date.now() + 3_600_000
  const body = seq(
    der(0xa0, integer('02')),
    integer(serial),
    ECDSA_SHA256,
    issuer,
    seq(time(notAfter - 7_200_000), time(notAfter)),
    subject,
    publicKey.export({ type: 'spki', format: 'der' }),
    ...(extensions.length > 0 ? [der(0xa3, seq(...extensions))] : []),
  )
  return new Uint8Array(signed(body, facts.signer))
}

const SAN = '551d11'
/** Alternative names by their tags: 0x81 email, 0x82 dns, 0x86 uri, 0x87 address. */
export function alternatives(...names: readonly (readonly [number, string])[]): Buffer {
  return extension(SAN, seq(...names.map(([tag, value]) => text(tag, value))))
}

/** An RSA public key with any exponent. @returns SPKI in PEM */
export function rsaWithExponent(e: string): string {
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const { n = '' } = publicKey.export({ format: 'jwk' })
  const odd = createPublicKey({ key: { kty: 'RSA', n, e }, format: 'jwk' })
  return odd.export({ type: 'spki', format: 'pem' }).toString()
}

export function pemOf(bytes: Uint8Array, label: string): string {
  return `-----BEGIN ${label}-----\n${Buffer.from(bytes).toString('base64')}\n-----END ${label}-----\n`
}
