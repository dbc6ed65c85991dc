import { createPublicKey, randomUUID, X509Certificate } from 'node:crypto'
import { hostname } from 'node:os'
import { connectorUri } from '@postern/end-to-end'
import { issueCertificate, type KeyAndCertificate, createAuthority as makeAuthority, makeKey } from '@postern/pki'

/** Twenty years: it is replaced when its key was lost, and not for its age. */
const IDENTITY_DAYS = 7305
/** A year: a daemon logs in again before that. */
const CONNECTOR_SECONDS = 365 * 86_400
/** What goes from hand to hand does not live longer. */
const MOST_AUTHORITY_SECONDS = 86_400

/** What vouches for a tunnel's daemons: a CA with a key of P-256, for one CA below it. */
export function createIdentity(tunnel: string): Promise<KeyAndCertificate> {
  return makeAuthority({ commonName: named('postern tunnel ', tunnel), days: IDENTITY_DAYS, pathLength: 1 })
}

/**
 * An authority of the identity's, for a setup token: whoever has it signs one daemon's certificate.
 *
 * @param seconds 60 to a day
 */
export async function createSetupAuthority(
  identity: KeyAndCertificate,
  tunnel: string,
  seconds: number = MOST_AUTHORITY_SECONDS,
): Promise<KeyAndCertificate> {
  const key = await makeKey()
  const { cert } = await issueCertificate(identity, {
    publicKey: publicKeyOf(key),
    commonName: named('postern setup ', tunnel),
    san: [],
    seconds,
    usage: 'connector-authority',
  })
  return { cert, key }
}

/** A daemon's key and its id, made where it runs. */
export interface NewConnector {
  readonly id: string
  /** PKCS#8 PEM. */
  readonly key: string
  /** SubjectPublicKeyInfo PEM. */
  readonly publicKey: string
  /** What its machine calls itself. */
  readonly host: string
}

export async function createConnector(): Promise<NewConnector> {
  const key = await makeKey()
  return {
    id: randomUUID(),
    key,
    publicKey: publicKeyOf(key),
    host:
      hostname()
        .replace(/[^\x20-\x7e]/g, '?')
        .slice(0, 100) || '?',
  }
}

/** Its certificate, by the tunnel's identity or by the authority of a setup token. @returns PEM */
export async function signConnector(
  authority: KeyAndCertificate,
  tunnel: string,
  { id, publicKey }: Pick<NewConnector, 'id' | 'publicKey'>,
): Promise<string> {
  const { cert } = await issueCertificate(authority, {
    publicKey,
    commonName: named('postern connector ', tunnel),
    san: [{ type: 'uri', value: connectorUri(tunnel, id) }],
    seconds: CONNECTOR_SECONDS,
    usage: 'connector',
    outlives: true,
  })
  return cert
}

/** Whether a certificate is for this private key. */
export function isCertificateOf(key: string, certificate: string): boolean {
  return new X509Certificate(certificate).publicKey.equals(createPublicKey(key))
}

function publicKeyOf(key: string): string {
  return createPublicKey(key).export({ type: 'spki', format: 'pem' }).toString()
}

/** For people who look at it: 64 characters at most. */
function named(what: string, tunnel: string): string {
  return `${what}${tunnel}`.slice(0, 64)
}
