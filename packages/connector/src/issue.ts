import { createPublicKey, randomUUID, X509Certificate } from 'node:crypto'
import { hostname } from 'node:os'
import { connectorUri, setupUri } from '@postern/end-to-end'
import { issueCertificate, type KeyAndCertificate, createAuthority as makeAuthority, makeKey } from '@postern/pki'

/** Twenty years: it is replaced when its key was lost, and not for its age. */
const IDENTITY_DAYS = 7305
/** A year: a daemon logs in again before that. */
const CONNECTOR_SECONDS = 365 * 86_400
/** The daemon's chain is good as long as its certificate: a day more, in which the setup token is redeemed. */
const AUTHORITY_SECONDS = CONNECTOR_SECONDS + 86_400

/** What vouches for a tunnel's daemons: a CA with a key of P-256, for one CA below it. */
export function createIdentity(tunnel: string): Promise<KeyAndCertificate> {
  return makeAuthority({ commonName: named('postern tunnel ', tunnel), days: IDENTITY_DAYS, pathLength: 1 })
}

/**
 * An authority of the identity's, for a setup token: whoever has it signs the certificate of this one connector, and no other. Until it
 * ends, a year and a day from now, its key is as good as that daemon's, so whoever signed with it destroys it.
 */
export async function createSetupAuthority(
  identity: KeyAndCertificate,
  tunnel: string,
  connector: string = randomUUID(),
): Promise<KeyAndCertificate> {
  const key = await makeKey()
  const { cert } = await issueCertificate(identity, {
    publicKey: publicKeyOf(key),
    commonName: named('postern setup ', tunnel),
    san: [{ type: 'uri', value: setupUri(tunnel, connector) }],
    seconds: AUTHORITY_SECONDS,
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

/** @param id where a setup token says which */
export async function createConnector(id: string = randomUUID()): Promise<NewConnector> {
  const key = await makeKey()
  return {
    id,
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
