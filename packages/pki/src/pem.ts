/** A certificate and its key. */
export interface KeyAndCertificate {
  /** PEM, the leaf first. */
  readonly cert: string
  /** PEM, PKCS#8, not encrypted. */
  readonly key: string
}

/**
 * The blocks of one kind in a text, in their order (RFC 7468). Text around them is passed over, as everywhere; so is a block that
 * is not base64.
 *
 * @returns DER; empty where there is none of that kind
 */
export function readPem(text: string, label: string): readonly Uint8Array[] {
  const [begin, end] = [`-----BEGIN ${label}-----`, `-----END ${label}-----`]
  const found: Uint8Array[] = []
  for (let at = text.indexOf(begin); at >= 0; at = text.indexOf(begin, at)) {
    at += begin.length
    const until = text.indexOf(end, at)
    if (until < 0) break
    const base64 = text.slice(at, until)
    if (!/[^A-Za-z0-9+/=\s]/.test(base64)) found.push(new Uint8Array(Buffer.from(base64, 'base64')))
  }
  return found
}

/** @returns PEM with a line feed at its end */
export function writePem(der: Uint8Array, label: string): string {
  const lines = Buffer.from(der)
    .toString('base64')
    .replace(/.{64}(?=.)/g, '$&\n')
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`
}
