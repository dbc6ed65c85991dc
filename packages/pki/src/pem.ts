/** A certificate and its key. */
export interface KeyAndCertificate {
  /** PEM, the leaf first. */
  readonly cert: string
  /** PEM, PKCS#8, not encrypted. */
  readonly key: string
}

const BLOCK = /-----BEGIN ([A-Z0-9 ]{1,40})-----([A-Za-z0-9+/=\s]*)-----END \1-----/g

/**
 * The blocks of one kind in a text, in their order (RFC 7468). Text around them is passed over, as everywhere.
 *
 * @returns DER; empty where there is none of that kind
 */
export function readPem(text: string, label: string): readonly Uint8Array[] {
  return [...text.matchAll(BLOCK)]
    .filter(match => match[1] === label)
    .map(match => new Uint8Array(Buffer.from(match[2] ?? '', 'base64')))
}

/** @returns PEM with a line feed at its end */
export function writePem(der: Uint8Array, label: string): string {
  const lines = Buffer.from(der)
    .toString('base64')
    .replace(/.{64}(?=.)/g, '$&\n')
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`
}
