import { X509Certificate } from 'node:crypto'
import { PosternError } from '@postern/interface'
import { certificateFingerprint } from './fingerprint.ts'
import { connectorUri, isConnectorId } from './name.ts'

/** Characters of a PEM; ours have 700. */
const LARGEST = 8192
/** Milliseconds that clocks may differ: what was made just now is good. */
const SKEW = 60_000
const DAY = 86_400_000
/** What a setup token carries lives no longer. */
export const LONGEST_AUTHORITY: number = DAY
/** A daemon's certificate lives no longer; ours live a year. */
export const LONGEST_CONNECTOR: number = 398 * DAY

/** A daemon's certificate, looked at. */
export interface ConnectorCertificate {
  /** Of the connector, as the certificate names it. */
  readonly id: string
  readonly fingerprint: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
  /** Of the key that it is for. */
  readonly publicKey: X509Certificate['publicKey']
}

/**
 * The certificate of a tunnel's identity: signed by itself, and able to sign.
 *
 * @throws PosternError BAD_USAGE
 */
export function checkIdentity(pem: string, now: number = Date.now()): X509Certificate {
  const certificate = read(pem, 'the tunnel’s identity')
  if (!certificate.ca) throw wrong('the tunnel’s identity is no certificate authority')
  mustBeSignedBy(certificate, certificate, 'the tunnel’s identity')
  mustBeValid(certificate, now, 'the tunnel’s identity')
  return certificate
}

/**
 * What a setup token carries: an authority that the identity signed, for a day at most.
 *
 * @throws PosternError BAD_USAGE
 */
export function checkAuthority(pem: string, identity: X509Certificate, now: number = Date.now()): X509Certificate {
  const certificate = read(pem, 'the setup token’s authority')
  if (!certificate.ca) throw wrong('the setup token’s authority is no certificate authority')
  mustBeSignedBy(certificate, identity, 'the setup token’s authority')
  mustBeValid(certificate, now, 'the setup token’s authority')
  if (endOf(certificate) > now + LONGEST_AUTHORITY + SKEW)
    throw wrong('the setup token’s authority lives longer than a day')
  return certificate
}

/**
 * A daemon's certificate: one connector of this tunnel, signed by this very certificate. Whoever uses it has to prove its key
 * each time, which is looked at elsewhere.
 *
 * @throws PosternError BAD_USAGE
 */
export function checkConnector(
  pem: string,
  issuer: X509Certificate,
  tunnel: string,
  now: number = Date.now(),
): ConnectorCertificate {
  const certificate = read(pem, 'the daemon’s certificate')
  if (certificate.ca) throw wrong('the daemon’s certificate is that of a certificate authority')
  mustBeSignedBy(certificate, issuer, 'the daemon’s certificate')
  mustBeValid(certificate, now, 'the daemon’s certificate')
  const expiresAt = endOf(certificate)
  if (expiresAt > now + LONGEST_CONNECTOR + SKEW) throw wrong('the daemon’s certificate lives longer than 398 days')
  const name = certificate.subjectAltName ?? ''
  const id = name.slice(name.lastIndexOf(':') + 1)
  if (!isConnectorId(id) || name !== `URI:${connectorUri(tunnel, id)}`)
    throw wrong(`the daemon’s certificate is not for one connector of the tunnel ${tunnel}`)
  const { publicKey } = certificate
  return { id, fingerprint: certificateFingerprint(certificate), expiresAt, publicKey }
}

function read(pem: string, what: string): X509Certificate {
  // Nothing beside it either: what is kept is what was sent, and an identity's file has its key behind it.
  const [only, ...more] = pem.length <= LARGEST ? pem.matchAll(/-----BEGIN /g) : []
  if (only === undefined || more.length > 0 || !pem.includes('-----BEGIN CERTIFICATE-----'))
    throw wrong(`${what} is not the PEM of one certificate`)
  let certificate: X509Certificate
  try {
    certificate = new X509Certificate(pem)
  } catch {
    throw wrong(`${what} cannot be read`)
  }
  const { asymmetricKeyType, asymmetricKeyDetails } = certificate.publicKey
  if (asymmetricKeyType !== 'ec' || asymmetricKeyDetails?.namedCurve !== 'prime256v1')
    throw wrong(`${what} has a key that is not of the curve P-256`)
  return certificate
}

/** By name and by signature: OpenSSL looks at both. */
function mustBeSignedBy(certificate: X509Certificate, issuer: X509Certificate, what: string): void {
  if (!certificate.checkIssued(issuer) || !certificate.verify(issuer.publicKey))
    throw wrong(`${what} was not signed by whom it has to be`)
}

function mustBeValid({ validFromDate, validToDate }: X509Certificate, now: number, what: string): void {
  if (validFromDate.getTime() > now + SKEW) throw wrong(`${what} is not valid yet: compare the clocks`)
  if (validToDate.getTime() <= now) throw wrong(`${what} has expired`)
}

function endOf({ validToDate }: X509Certificate): number {
  return validToDate.getTime()
}

function wrong(message: string): PosternError {
  return new PosternError('BAD_USAGE', message)
}
