import { createPublicKey, type KeyObject, randomBytes, sign } from 'node:crypto'
import { PosternError } from '@postern/interface'
import { isSshPrincipal, MOST_PRINCIPALS } from './permit.ts'
import { readKeyFields, type SshPublicKey, showSshPublicKey } from './public-key.ts'
import { SshReader, sshString, uint32, uint64 } from './wire.ts'

/** What an OpenSSH user certificate is to say. */
export interface SshCertificateOrder {
  /** The user's key. */
  readonly publicKey: SshPublicKey
  /** sshd writes it into its log: 1–256 characters of printable ASCII. */
  readonly keyId: string
  /** The user names, or names that a server maps to them, it is good for: 1–32. */
  readonly principals: readonly string[]
  /** Seconds since the epoch, whole; at most 24 h and a minute apart. Good from the first, not any more at the second. */
  readonly validAfter: number
  readonly validBefore: number
  /** For example `force-command`: a server that does not know one refuses the certificate. */
  readonly criticalOptions?: Readonly<Record<string, string>>
  /** For example `permit-pty`. */
  readonly extensions?: readonly string[]
}

export interface IssuedSshCertificate {
  /** One line, as a `-cert.pub` file has it, without its end. */
  readonly certificate: string
  /** 64 random bits. */
  readonly serial: bigint
}

/** What a certificate says. Nothing is verified here: that is sshd’s to do. */
export interface SshCertificateFacts {
  /** The user's key, as a line of a `.pub` file without a comment. */
  readonly publicKey: string
  readonly serial: bigint
  readonly keyId: string
  readonly principals: readonly string[]
  /** Seconds since the epoch. */
  readonly validAfter: number
  readonly validBefore: number
}

const CERTIFICATE = '-cert-v01@openssh.com'
const AUTHORITY = 'ssh-ed25519'
/** `SSH_CERT_TYPE_USER` (PROTOCOL.certkeys of OpenSSH). */
const USER = 1
/** Seconds. */
const LONGEST_LIFE = 24 * 3600 + 60
const LONGEST_LINE = 65_536

/**
 * Issues an OpenSSH user certificate (PROTOCOL.certkeys), signed with an Ed25519 key.
 *
 * @param authority a private key of {@link createSshAuthority}
 * @throws PosternError INTERNAL: an order that no certificate may be made of
 */
export function issueSshCertificate(authority: KeyObject, order: SshCertificateOrder): IssuedSshCertificate {
  mustBeSound(order)
  const { publicKey, keyId, principals, validAfter, validBefore, criticalOptions = {}, extensions = [] } = order
  const serial = randomBytes(8).readBigUInt64BE()
  const type = certificateType(publicKey.type)
  const body = Buffer.concat([
    sshString(type),
    sshString(randomBytes(32)),
    publicKey.fields,
    uint64(serial),
    uint32(USER),
    sshString(keyId),
    sshString(Buffer.concat(principals.map(sshString))),
    uint64(BigInt(validAfter)),
    uint64(BigInt(validBefore)),
    sshString(optionsOf(Object.entries(criticalOptions).map(([name, value]) => [name, sshString(value)]))),
    sshString(optionsOf(extensions.map(name => [name, '']))),
    sshString(''),
    sshString(authorityBlob(authority)),
  ])
  const signature = Buffer.concat([sshString(AUTHORITY), sshString(sign(null, body, authority))])
  const blob = Buffer.concat([body, sshString(signature)])
  return { certificate: showSshPublicKey({ type, blob }), serial }
}

/** The public half of an authority's key, as a line for `TrustedUserCAKeys`. */
export function sshAuthorityLine(authority: KeyObject, comment: string): string {
  return showSshPublicKey({ type: AUTHORITY, blob: authorityBlob(authority) }, comment)
}

/** Reads a line of a `-cert.pub` file. @throws PosternError BAD_USAGE: no user certificate, or not whole */
export function readSshCertificate(line: string): SshCertificateFacts {
  const [, type = '', base64 = ''] =
    (line.length > LONGEST_LINE ? undefined : /^([a-z0-9@.-]+) ([A-Za-z0-9+/]+={0,2})(?: [^\n]*)?\n?$/.exec(line)) ?? []
  const reader = new SshReader(Buffer.from(base64, 'base64'))
  if (!type.endsWith(CERTIFICATE) || reader.text() !== type) throw noCertificate()
  reader.string() // the nonce
  const keyType = keyTypeOf(type)
  const blob = Buffer.concat([sshString(keyType), readKeyFields(keyType, reader)])
  const serial = reader.uint64()
  if (reader.uint32() !== USER) throw noCertificate()
  const keyId = reader.text()
  const names = new SshReader(reader.string())
  const principals: string[] = []
  while (!names.isDone) principals.push(names.text())
  const [validAfter, validBefore] = [Number(reader.uint64()), Number(reader.uint64())]
  for (const _of of ['critical options', 'extensions', 'reserved', 'authority', 'signature']) reader.string()
  reader.end()
  return { publicKey: showSshPublicKey({ type: keyType, blob }), serial, keyId, principals, validAfter, validBefore }
}

function noCertificate(): PosternError {
  return new PosternError('BAD_USAGE', 'this is no SSH certificate of a user')
}

/** A certificate without names would be good for every name: it is not made, whoever asks. */
function mustBeSound({ keyId, principals, validAfter, validBefore, criticalOptions }: SshCertificateOrder): void {
  const names = principals.length > 0 && principals.length <= MOST_PRINCIPALS && principals.every(isSshPrincipal)
  const times = [validAfter, validBefore].every(Number.isSafeInteger) && validAfter > 0
  const life = validBefore - validAfter
  const texts = [keyId, ...Object.values(criticalOptions ?? {})].every(text => /^[ -~]+$/.test(text))
  if (!names || !times || !(life > 0 && life <= LONGEST_LIFE) || !texts || keyId.length > 256)
    throw new PosternError('INTERNAL', 'an SSH certificate was ordered that may not be')
}

/** `-cert-v01@openssh.com` stands in the place of the vendor, where a key has one. */
function certificateType(keyType: string): string {
  return keyType.replace(/@openssh\.com$/, '') + CERTIFICATE
}

function keyTypeOf(certificateType: string): string {
  const plain = certificateType.slice(0, -CERTIFICATE.length)
  return plain.startsWith('sk-') ? `${plain}@openssh.com` : plain
}

/** Names and data, in the order of the names: OpenSSH wants them so. */
function optionsOf(options: readonly (readonly [string, string | Buffer])[]): Buffer {
  const sorted = options.toSorted(([one], [other]) => Buffer.compare(Buffer.from(one), Buffer.from(other)))
  return Buffer.concat(sorted.flatMap(([name, data]) => [sshString(name), sshString(data)]))
}

function authorityBlob(authority: KeyObject): Buffer {
  const { crv, x = '' } = createPublicKey(authority).export({ format: 'jwk' })
  if (crv !== 'Ed25519') throw new PosternError('INTERNAL', 'an SSH authority has an Ed25519 key')
  return Buffer.concat([sshString(AUTHORITY), sshString(Buffer.from(x, 'base64url'))])
}
