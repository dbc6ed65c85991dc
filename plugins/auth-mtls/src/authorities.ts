import { createHash, X509Certificate } from 'node:crypto'
import type { Json } from '@postern/interface'

/** A certificate authority that the edge knows, by one of its certificates. */
export interface Authority {
  readonly id: string
  readonly name: string
  /** Of that certificate: SHA-256 of its DER, lower-case hex. */
  readonly fingerprint: string
  readonly certificate: X509Certificate
}

type Rows = ReadonlyMap<string, Json>

/** Rows `ca.<id>`: `{ name, certificates: PEM[], … }`. */
export const AUTHORITY_ROWS = 'ca.'
const ROW = /^ca\.([0-9a-f]{1,64})$/

const READ = new WeakMap<Rows, ReadonlyMap<string, Authority>>()
const OF_ROW = new WeakMap<object, readonly Authority[]>()

/**
 * The authority that has this certificate, byte for byte, for its own.
 *
 * @param certificate DER
 * @param rows those that begin with {@link AUTHORITY_ROWS}
 */
export function authorityOf(certificate: Uint8Array, rows: Rows): Authority | undefined {
  let known = READ.get(rows)
  if (known === undefined) {
    known = new Map([...rows].flatMap(([row, value]) => read(row, value).map(one => [one.fingerprint, one])))
    READ.set(rows, known)
  }
  return known.get(createHash('sha256').update(certificate).digest('hex'))
}

/** What cannot be read vouches for nobody. */
function read(row: string, value: Json): readonly Authority[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return []
  const known = OF_ROW.get(value)
  if (known !== undefined) return known
  const id = ROW.exec(row)?.[1]
  const { name, certificates } = value as { readonly [key: string]: Json }
  const isWhole = id !== undefined && typeof name === 'string' && Array.isArray(certificates)
  const found = isWhole
    ? certificates.flatMap((pem: Json) => readCertificate(pem).map(one => ({ id, name, ...one })))
    : []
  OF_ROW.set(value, found)
  return found
}

function readCertificate(pem: Json): readonly Pick<Authority, 'fingerprint' | 'certificate'>[] {
  try {
    const certificate = new X509Certificate(String(pem))
    return [{ certificate, fingerprint: certificate.fingerprint256.replaceAll(':', '').toLowerCase() }]
  } catch {
    return []
  }
}
