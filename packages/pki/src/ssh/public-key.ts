import { createPublicKey } from 'node:crypto'
import { malformed, SshReader } from './wire.ts'

/** A user's public key, as it stands in `id_ed25519.pub`. */
export interface SshPublicKey {
  /** For example `ssh-ed25519`. */
  readonly type: string
  /** As sshd compares it: the type, and what belongs to it. */
  readonly blob: Buffer
  /** What stands behind the type: a certificate has the same there. */
  readonly fields: Buffer
}

/** RSA of 16,384 bits, the most that OpenSSH takes, is a third of it. */
const LONGEST_LINE = 8192
/** NIST SP 800-131A; OpenSSH takes no shorter ones from 10.0 on, and no longer ones. */
const RSA_BITS = { least: 2048, most: 16_384 }
const LEAST_EXPONENT = 65_537n
const LONGEST_APPLICATION = 255

/** Reads the fields of one type of key, and refuses what is none. */
const FORMS: Readonly<Record<string, (fields: SshReader) => void>> = {
  'ssh-ed25519': ed25519,
  'ssh-rsa': rsa,
  'ecdsa-sha2-nistp256': fields => ecdsa(fields, 'nistp256'),
  'ecdsa-sha2-nistp384': fields => ecdsa(fields, 'nistp384'),
  'ecdsa-sha2-nistp521': fields => ecdsa(fields, 'nistp521'),
  'sk-ssh-ed25519@openssh.com': fields => {
    ed25519(fields)
    application(fields)
  },
  'sk-ecdsa-sha2-nistp256@openssh.com': fields => {
    ecdsa(fields, 'nistp256')
    application(fields)
  },
}

/**
 * Reads one public key, strictly: `TYPE BASE64 [COMMENT]` on one line, in the one form that there is of it. Ed25519, ECDSA on the
 * NIST curves, RSA of 2,048 bits and more, and the `sk-` kinds of hardware keys.
 *
 * @throws PosternError BAD_USAGE, also for a certificate, a private key, and a key that is too weak
 */
export function readSshPublicKey(line: string): SshPublicKey {
  if (line.length > LONGEST_LINE) throw malformed('is longer than any key')
  if (line.includes('PRIVATE KEY'))
    throw malformed('is a private key', 'Keep that one to yourself; the other file ends in .pub.')
  const [, type = '', base64 = ''] = /^([a-z0-9@.-]+) ([A-Za-z0-9+/]+={0,2})(?: [^\r\n\0]*)?\r?\n?$/.exec(line) ?? []
  const blob = Buffer.from(base64, 'base64')
  if (base64 === '' || blob.toString('base64') !== base64)
    throw malformed('is not a line of a .pub file', 'It looks like: ssh-ed25519 AAAA… name')
  if (type.endsWith('-cert-v01@openssh.com')) throw malformed('is a certificate', 'Give the key that it is for.')
  const reader = new SshReader(blob)
  if (!reader.string().equals(Buffer.from(type))) throw malformed('is of another kind than its line says')
  const fields = readKeyFields(type, reader)
  reader.end()
  return { type, blob, fields }
}

/**
 * What stands behind the type of a key, in a key and in a certificate alike.
 *
 * @throws PosternError BAD_USAGE: not a key of that type, or one that is too weak
 */
export function readKeyFields(type: string, reader: SshReader): Buffer {
  const read = Object.hasOwn(FORMS, type) ? FORMS[type] : undefined
  if (read === undefined)
    throw malformed(`is of a kind that is not taken: ${type.slice(0, 64)}`, 'Use ed25519, ecdsa or rsa.')
  const from = reader.at
  read(reader)
  return reader.since(from)
}

/** The line of a `.pub` file. */
export function showSshPublicKey({ type, blob }: Pick<SshPublicKey, 'type' | 'blob'>, comment?: string): string {
  return [type, blob.toString('base64'), ...(comment === undefined ? [] : [comment])].join(' ')
}

function ed25519(fields: SshReader): void {
  if (fields.string().length !== 32) throw malformed('is no Ed25519 key')
}

/** RFC 5656 §3.1; OpenSSL says whether the point lies on the curve. */
function ecdsa(fields: SshReader, curve: 'nistp256' | 'nistp384' | 'nistp521'): void {
  const bytes = { nistp256: 32, nistp384: 48, nistp521: 66 }[curve]
  const isItsCurve = fields.string().equals(Buffer.from(curve))
  const point = fields.string()
  if (!isItsCurve || point.length !== 1 + 2 * bytes || point[0] !== 4) throw malformed(`is no key on ${curve}`)
  const [x, y] = [point.subarray(1, 1 + bytes), point.subarray(1 + bytes)].map(one => one.toString('base64url'))
  try {
    createPublicKey({ format: 'jwk', key: { kty: 'EC', crv: `P-${curve.slice(5)}`, x: x ?? '', y: y ?? '' } })
  } catch {
    throw malformed(`is no point on ${curve}`)
  }
}

function rsa(fields: SshReader): void {
  const exponent = fields.mpint()
  const modulus = fields.mpint()
  const bits = modulus.length * 8 - Math.clz32(modulus[0] ?? 0) + 24
  if (bits < RSA_BITS.least) throw malformed(`is RSA of ${bits} bits`, 'Use ed25519, or RSA of 3072 bits.')
  const [e, isOdd] = [BigInt(`0x${exponent.toString('hex')}`), ((modulus.at(-1) ?? 0) & 1) === 1]
  if (bits > RSA_BITS.most || e < LEAST_EXPONENT || exponent.length > 8 || e % 2n === 0n || !isOdd)
    throw malformed('is no RSA key of the usual form', 'Use ed25519, or RSA of 3072 bits.')
}

/** PROTOCOL.u2f of OpenSSH: whose key it is on the hardware. */
function application(fields: SshReader): void {
  const name = fields.text()
  if (name === '' || name.length > LONGEST_APPLICATION) throw malformed('does not say which application it is for')
}
