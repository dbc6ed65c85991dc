import { X509Certificate } from 'node:crypto'
import { PosternError } from '@postern/interface'
import { certificateFingerprint } from './fingerprint.ts'
import { connectorUri, isConnectorId, setupUri } from './name.ts'

/** Characters of a PEM; ours have 700. */
const LARGEST = 8192
/** Milliseconds that clocks may differ: what was made just now is good. */
const SKEW = 60_000
const DAY = 86_400_000
/** A daemon's certificate lives no longer, and neither does what may have signed it alone; ours live a year. */
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

/** The authority of a setup token, looked at. */
export interface SetupAuthority {
  readonly certificate: X509Certificate
  /** The one connector that it may sign. */
  readonly connector: string
}

/** What a daemon proves itself with: its certificate, and where that was signed by a setup token's authority, that one's. Both PEM. */
export interface ConnectorChain {
  readonly certificate: string
  readonly authority?: string | undefined
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
 * What a setup token carries: an authority that the identity signed, for one connector.
 *
 * @throws PosternError BAD_USAGE
 */
export function checkAuthority(
  pem: string,
  identity: X509Certificate,
  tunnel: string,
  now: number = Date.now(),
): SetupAuthority {
  const what = 'the setup token’s authority'
  const certificate = read(pem, what)
  if (!certificate.ca) throw wrong(`${what} is no certificate authority`)
  mustBeSignedBy(certificate, identity, what)
  mustBeValid(certificate, now, what)
  if (endOf(certificate) > now + LONGEST_CONNECTOR + SKEW) throw wrong(`${what} lives longer than 398 days`)
  const connector = nameIn(certificate, id => setupUri(tunnel, id))
  if (connector === undefined)
    throw wrong(`${what} is not for one connector of the tunnel ${tunnel}: one of an older postern is good no longer`)
  return { certificate, connector }
}

/**
 * A daemon's certificate, vouched for by the identity itself or by the authority of a setup token that is for this very connector. No chain
 * is longer.
 *
 * @throws PosternError BAD_USAGE
 */
export function checkChain(
  { certificate, authority }: ConnectorChain,
  identity: X509Certificate,
  tunnel: string,
  now: number = Date.now(),
): ConnectorCertificate {
  if (authority === undefined) return checkConnector(certificate, identity, tunnel, now)
  const setup = checkAuthority(authority, identity, tunnel, now)
  const found = checkConnector(certificate, setup.certificate, tunnel, now)
  if (found.id !== setup.connector)
    throw wrong('the daemon’s certificate is for another connector than its setup token is for')
  return found
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
  const id = nameIn(certificate, found => connectorUri(tunnel, found))
  if (id === undefined) throw wrong(`the daemon’s certificate is not for one connector of the tunnel ${tunnel}`)
  const { publicKey } = certificate
  return { id, fingerprint: certificateFingerprint(certificate), expiresAt, publicKey }
}

/** The connector in a certificate's one and only name. */
function nameIn({ subjectAltName = '' }: X509Certificate, uriOf: (id: string) => string): string | undefined {
  const id = subjectAltName.slice(subjectAltName.lastIndexOf(':') + 1)
  return isConnectorId(id) && subjectAltName === `URI:${uriOf(id)}` ? id : undefined
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
