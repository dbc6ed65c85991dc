import { createHash, createPublicKey, type KeyObject, type X509Certificate } from 'node:crypto'

/** `sha256:` and the hexadecimal digits of the SHA-256 of a certificate's DER. */
export function certificateFingerprint({ raw }: Pick<X509Certificate, 'raw'>): string {
  return spelled(raw)
}

/**
 * `sha256:` and the hexadecimal digits of the SHA-256 of a public key (its SubjectPublicKeyInfo): the same in every certificate of
 * that key, so that people can compare it.
 *
 * @param key public, or the PEM of one or of a private key
 */
export function keyFingerprint(key: KeyObject | string): string {
  const publicKey = typeof key === 'string' ? createPublicKey(key) : key
  return spelled(publicKey.export({ type: 'spki', format: 'der' }))
}

function spelled(der: Uint8Array): string {
  return `sha256:${createHash('sha256').update(der).digest('hex')}`
}
