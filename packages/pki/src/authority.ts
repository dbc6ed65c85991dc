import { createPrivateKey, createPublicKey, type KeyObject, randomBytes, X509Certificate } from 'node:crypto'
import { PosternError } from '@postern/interface'
import { contentOf, elementsIn, wholeElement } from './der.ts'
import { isStrongSignature, makeKey, weaknessOf } from './keys.ts'
import { onOneLine } from './leaf.ts'
import { checkCommonName } from './names.ts'
import { type KeyAndCertificate, readPem, writePem } from './pem.ts'

const DAY = 86_400_000
/** Clocks of other machines may be behind. */
const BACK = DAY
const MOST_DAYS = 40 * 366
const MOST_AUTHORITIES = 10
const MOST_LENGTH = 256 * 1024

export interface AuthorityFacts {
  /** PEM of this one certificate. */
  readonly cert: string
  /** As RFC 4514 writes it, on one line. */
  readonly subject: string
  /** Milliseconds since the epoch. */
  readonly notBefore: number
  readonly notAfter: number
  /** SHA-256 of the DER, lower-case hex. */
  readonly fingerprint: string
  /** For people: `EC P-256`, `RSA 2048`, `Ed25519`. */
  readonly keyType: string
}

/**
 * Makes a CA: a key and a certificate signed by it, valid from a day ago.
 *
 * @param wanted.days 1 to 14,640 (40 years)
 * @param wanted.pathLength CAs that may stand between it and a leaf. Default 0: it issues leaves only.
 * @param wanted.keyType default `ec` (P-256); `rsa` has 2048 bits
 * @throws PosternError BAD_USAGE: a name or a time that cannot be
 */
export async function createAuthority(wanted: {
  readonly commonName: string
  readonly days: number
  readonly pathLength?: number
  readonly keyType?: 'ec' | 'rsa'
}): Promise<KeyAndCertificate> {
  const { commonName, days, pathLength = 0, keyType = 'ec' } = wanted
  if (!(days >= 1 && days <= MOST_DAYS))
    throw new PosternError('BAD_USAGE', `a CA lasts from 1 to ${MOST_DAYS} days, not ${days}`)
  const [{ signCertificate }, pem] = await Promise.all([import('./structures.ts'), makeKey(keyType)])
  const key = createPrivateKey(pem)
  const der = await signCertificate(
    {
      serial: newSerial(),
      publicKey: createPublicKey(key),
      commonName: checkCommonName(commonName),
      names: [],
      notBefore: Date.now() - BACK,
      notAfter: Date.now() + days * DAY,
      ca: { pathLength },
    },
    { key },
  )
  return { cert: writePem(der, 'CERTIFICATE'), key: pem }
}

/** 126 bits by chance, 16 bytes, positive and without a leading zero byte: RFC 5280 §4.1.2.2, and twice what CAs must have. */
export function newSerial(): Uint8Array {
  const serial = randomBytes(16)
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40
  return serial
}

/**
 * A CA’s certificate that is brought, looked at before it is trusted with anything.
 *
 * @param pem one certificate
 * @param key PKCS#8 PEM of its key, where it is to issue
 * @throws PosternError CONFIG_INVALID: not one certificate; not a CA’s; a weak key or signature; expired; not its key
 */
export function readAuthority(pem: string, key?: string): AuthorityFacts {
  const all = readAuthorities(pem)
  const [only] = all
  if (!only || all.length > 1) throw refused('PEM', `has ${all.length} certificates where one is wanted`)
  if (key !== undefined && !new X509Certificate(only.cert).checkPrivateKey(readSigningKey(key)))
    throw new PosternError('CONFIG_INVALID', `the key is not that of the CA ${only.subject}`)
  return only
}

/**
 * CA certificates that are trusted alike: during a rotation the old one and the new one.
 *
 * @param pem 1 to 10 certificates
 * @throws PosternError CONFIG_INVALID as {@link readAuthority}, for any of them
 */
export function readAuthorities(pem: string): readonly AuthorityFacts[] {
  if (pem.length > MOST_LENGTH) throw refused('PEM', `is larger than ${MOST_LENGTH / 1024} KiB`)
  const found = readPem(pem, 'CERTIFICATE')
  if (found.length < 1 || found.length > MOST_AUTHORITIES)
    throw refused('PEM', `has ${found.length} certificates where 1 to ${MOST_AUTHORITIES} are wanted`)
  return found.map(factsOf)
}

function factsOf(der: Uint8Array): AuthorityFacts {
  const { certificate, key, isStrong } = parse(der)
  const subject = onOneLine(certificate.subject)
  if (subject === '') throw refused('certificate', 'names no subject')
  if (!certificate.ca) throw refused(subject, 'is no CA: it may not sign certificates')
  const weakness = weaknessOf(key)
  if (weakness !== undefined) throw refused(subject, `cannot be trusted: its key is ${weakness}`)
  if (!isStrong) throw refused(subject, 'cannot be trusted: it is signed with SHA-1, MD5 or RSA-PSS')
  const notAfter = certificate.validToDate.getTime()
  if (notAfter <= Date.now()) throw refused(subject, `expired at ${certificate.validToDate.toISOString()}`)
  return {
    cert: writePem(der, 'CERTIFICATE'),
    subject,
    notBefore: certificate.validFromDate.getTime(),
    notAfter,
    fingerprint: certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
    keyType: keyTypeOf(key),
  }
}

function parse(der: Uint8Array): { certificate: X509Certificate; key: KeyObject; isStrong: boolean } {
  try {
    const certificate = new X509Certificate(der)
    return { certificate, key: certificate.publicKey, isStrong: hasStrongSignature(der) }
  } catch (cause) {
    throw new PosternError('CONFIG_INVALID', 'a CA’s certificate cannot be read', { cause })
  }
}

/** The second of the three things that a certificate is made of. */
function hasStrongSignature(der: Uint8Array): boolean {
  const [, algorithm] = elementsIn(der, wholeElement(der))
  const [oid] = algorithm ? elementsIn(der, algorithm) : []
  return oid !== undefined && isStrongSignature(contentOf(der, oid))
}

/** @throws PosternError CONFIG_INVALID: not a private key in PEM, or a weak one */
export function readSigningKey(pem: string): KeyObject {
  try {
    return createPrivateKey(pem)
  } catch (cause) {
    throw new PosternError('CONFIG_INVALID', 'the CA’s key is no private key in PEM, or is encrypted', { cause })
  }
}

function keyTypeOf(key: KeyObject): string {
  const { namedCurve, modulusLength } = key.asymmetricKeyDetails ?? {}
  if (key.asymmetricKeyType === 'rsa') return `RSA ${modulusLength}`
  if (key.asymmetricKeyType === 'ed25519') return 'Ed25519'
  return `EC ${{ prime256v1: 'P-256', secp384r1: 'P-384', secp521r1: 'P-521' }[namedCurve ?? ''] ?? namedCurve}`
}

function refused(what: string, why: string): PosternError {
  return new PosternError('CONFIG_INVALID', `the CA’s certificate ${what} ${why}`, {
    next: 'Give PEM of CA certificates with RSA from 2048 bits, P-256, P-384, P-521 or Ed25519, signed with SHA-256 or more.',
  })
}
