import { createPublicKey, type KeyObject, X509Certificate } from 'node:crypto'
import { PosternError } from '@postern/interface'
import { newSerial, readSigningKey } from './authority.ts'
import { readPublicKey } from './keys.ts'
import { checkCommonName, checkNames, type SubjectName } from './names.ts'
import { type KeyAndCertificate, readPem, writePem } from './pem.ts'

/** What a certificate is to say. */
export interface Profile {
  /** For people to read; 1 to 64 characters. Nothing is decided by it here. */
  readonly commonName?: string
  /** At most 100; as they are, exactly. */
  readonly san: readonly SubjectName[]
  /**
   * How long it lasts: 60 seconds to 825 days, and never longer than the CA itself. `connector` is for both ends, and
   * `connector-authority` is a CA for connectors.
   */
  readonly seconds: number
  /** Milliseconds since the epoch. Default: five minutes ago, for clocks that are behind. */
  readonly notBefore?: number
  readonly usage: 'client' | 'server' | 'connector' | 'connector-authority'
}

export interface IssuedCertificate {
  /** PEM of this one certificate. */
  readonly cert: string
  /** Lower-case hex, without leading zero bytes. */
  readonly serial: string
  /** SHA-256 of the DER, lower-case hex. */
  readonly fingerprint: string
  /** Milliseconds since the epoch, whole seconds. */
  readonly notBefore: number
  readonly notAfter: number
}

const LEAST_SECONDS = 60
/** CA/Browser Forum’s former most for leaves. */
const MOST_SECONDS = 825 * 86_400
const BACK = 300_000

/**
 * Issues a certificate for somebody’s public key. What it may be used for is the profile’s to say and nobody else’s: of a
 * request only the key is taken.
 *
 * @param request.publicKey SPKI in PEM, as `readCertificateRequest` gives it
 * @throws PosternError BAD_USAGE: names, a time or a key that cannot be certified; CONFIG_INVALID: a CA that cannot issue
 */
export async function issueCertificate(
  authority: KeyAndCertificate,
  request: Profile & { readonly publicKey: string },
): Promise<IssuedCertificate> {
  const { signCertificate, readAuthorityExtensions } = await import('./structures.ts')
  const { ca, der: caDer, key } = readIssuer(authority)
  const { usage } = request
  const isAuthority = usage === 'connector-authority'
  if (isAuthority && readAuthorityExtensions(caDer).pathLength === 0)
    throw new PosternError('CONFIG_INVALID', 'this CA issues leaves only, no CA below it')
  const der = await signCertificate(
    {
      serial: newSerial(),
      publicKey: readPublicKey(request.publicKey, 'the request'),
      commonName: request.commonName === undefined ? undefined : checkCommonName(request.commonName),
      names: checkNames(request.san),
      ...timesOf(request, ca),
      ...(isAuthority ? { ca: { pathLength: 0 } } : {}),
      purpose: isAuthority || usage === 'connector' ? 'both' : usage,
    },
    { certificate: caDer, key },
  )
  return factsOf(der, ca)
}

interface Signer {
  readonly ca: X509Certificate
  readonly der: Uint8Array
  readonly key: KeyObject
}

/** Who signs: the first certificate, with its key. */
function readIssuer({ cert, key: pem }: KeyAndCertificate): Signer {
  const [der] = readPem(cert, 'CERTIFICATE')
  const key = readSigningKey(pem)
  if (!der) throw new PosternError('CONFIG_INVALID', 'the CA has no certificate')
  const ca = new X509Certificate(der)
  if (!ca.ca) throw new PosternError('CONFIG_INVALID', 'what is to issue is no CA')
  if (!ca.publicKey.equals(createPublicKey(key)))
    throw new PosternError('CONFIG_INVALID', 'the key is not that of the CA’s certificate')
  return { ca, der, key }
}

function timesOf({ seconds, notBefore = Date.now() - BACK }: Profile, ca: X509Certificate) {
  if (!(seconds >= LEAST_SECONDS && seconds <= MOST_SECONDS))
    throw new PosternError(
      'BAD_USAGE',
      `a certificate lasts from ${LEAST_SECONDS} to ${MOST_SECONDS} seconds, not ${seconds}`,
    )
  const now = Date.now()
  const end = ca.validToDate.getTime()
  if (end <= now || ca.validFromDate.getTime() > now)
    throw new PosternError('CONFIG_INVALID', `the CA is valid from ${ca.validFrom} to ${ca.validTo}, and not now`)
  const notAfter = Math.min(now + seconds * 1000, end)
  if (notBefore < notAfter) return { notBefore, notAfter }
  throw new PosternError('BAD_USAGE', 'a certificate cannot end before it begins')
}

/** What was issued, as OpenSSL reads it: what it would refuse of this CA is never handed out. */
function factsOf(der: Uint8Array, ca: X509Certificate): IssuedCertificate {
  const issued = new X509Certificate(der)
  if (!issued.checkIssued(ca) || !issued.verify(ca.publicKey))
    throw new PosternError('INTERNAL', 'what was issued is not what OpenSSL takes for a certificate of this CA')
  return {
    cert: writePem(der, 'CERTIFICATE'),
    serial: issued.serialNumber.toLowerCase(),
    fingerprint: issued.fingerprint256.replaceAll(':', '').toLowerCase(),
    notBefore: issued.validFromDate.getTime(),
    notAfter: issued.validToDate.getTime(),
  }
}
