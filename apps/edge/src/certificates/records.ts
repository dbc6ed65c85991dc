import type { Json } from '@postern/interface'
import type { Rule } from '@postern/policy'
import type { Change, Snapshot } from '@postern/store'

/** Namespace of the store, shared with the plugin that verifies client certificates. */
export const CERTIFICATES = 'mtls'

const AUTHORITY = 'ca.'

/** A certificate authority of this team, row `ca.<id>`: whose certificates are known here, and what it may issue. */
export interface AuthorityRecord {
  /** Unique: `[a-z0-9][a-z0-9-]{0,62}`. */
  readonly name: string
  /** PEM, one certificate each, 1 to 10. All are trusted alike: a rotation adds one before it takes the other away. */
  readonly certificates: readonly string[]
  /** The only applications whose rules may name it; absent: every one. */
  readonly hostnames?: readonly string[]
  /** What it issues with; absent: it was imported without its key, so it only verifies. */
  readonly issuing?: {
    /** Of one of `certificates`: SHA-256 of its DER, lower-case hex. */
    readonly fingerprint: string
    /** PKCS#8 PEM, sealed. */
    readonly sealedKey: string
  }
  /** Who may ask for a certificate; none: nobody but administrators. */
  readonly rules: readonly Rule[]
  /** Seconds a certificate lasts at most. */
  readonly leafSeconds: number
  /** Seconds from its first issue that a certificate renews itself by its own key; 0: never. */
  readonly renewSeconds: number
  /** Milliseconds since the epoch. */
  readonly createdAt: number
}

/** A subject alternative name (RFC 5280 §4.2.1.6). */
export interface NameRecord {
  readonly type: 'dns' | 'email' | 'uri' | 'ip'
  readonly value: string
}

/** A certificate that was issued here, row `issued.<ca id>.<serial>`. Times in milliseconds since the epoch. */
export interface IssuedRecord {
  /** SHA-256 of the DER, lower-case hex. */
  readonly fingerprint: string
  /** Of the CA's certificate that it was issued with. */
  readonly authority: string
  readonly commonName?: string
  readonly san: readonly NameRecord[]
  readonly notBefore: number
  readonly notAfter: number
  /** How long it was to last; what vouches for it may end before that. */
  readonly seconds: number
  /** Who asked for it; absent: an administrator. */
  readonly holder?: { readonly issuer: string; readonly subject: string }
  readonly issuedAt: number
  /** Of the first one in a line of renewals: the end of renewing counts from here. */
  readonly firstIssuedAt: number
  /** Serial of the one that this one renews. */
  readonly replaces?: string
  /** {@link certificateKey} of the one that it was asked for with, where nothing else vouched for who asked: with that it ends. */
  readonly from?: string
  /** The actor of the audit log. */
  readonly by: string
}

/** A serial that is good no more, row `revoked.<ca id>.<serial>`, whoever issued it. */
export interface RevokedRecord {
  /** Milliseconds since the epoch. */
  readonly at: number
  /** Of the certificate, where that is known: the row is kept no longer. */
  readonly notAfter?: number
}

/** The revocation list of a CA, row `crl.<ca id>`. Times in milliseconds since the epoch. */
export interface RevocationListRecord {
  /** Of whose certificates it speaks: the subject of its CA's certificate in one line. Lists of old have none. */
  readonly issuer?: string
  /** RFC 5280 §5.2.3, decimal. */
  readonly number?: string
  readonly thisUpdate: number
  /** After it nothing of this CA is let in. */
  readonly nextUpdate?: number
  /** Lower-case hex without leading zeros, at most 200,000. */
  readonly serials: readonly string[]
}

export const authorityRow = (id: string): string => `${AUTHORITY}${id}`
export const issuedRow = (id: string, serial: string): string => `issued.${id}.${serial}`
export const revokedRow = (id: string, serial: string): string => `revoked.${id}.${serial}`
export const revocationListRow = (id: string): string => `crl.${id}`

/** What ends whatever was opened by one certificate. */
export const certificateKey = (id: string, serial: string): string => `certificate:${id}:${serial}`
/** What ends whatever was opened by any certificate of a CA. */
export const authorityKey = (id: string): string => `certificate-authority:${id}`
/** What ends whatever was opened by what one certificate of a CA stands above. */
export const authorityCertificateKey = (id: string, fingerprint: string): string =>
  `certificate-authority:${id}:${fingerprint}`
/** Opens nothing: an older copy of the database learns by it that a CA was removed. */
export const removedAuthorityKey = (id: string): string => `certificate-authority-removed:${id}`

type Rows = ReadonlyMap<string, Json>

export function certificateRows({ records }: Pick<Snapshot, 'records'>): Rows {
  return records.get(CERTIFICATES) ?? NO_ROWS
}

const NO_ROWS: Rows = new Map()

/** The id of a CA whose row this is. */
export function authorityIdIn(row: string): string | undefined {
  return row.startsWith(AUTHORITY) ? row.slice(AUTHORITY.length) : undefined
}

interface Place {
  /** Of the CA. */
  readonly id: string
  readonly serial: string
}

/** Whose row it is, where it is of a certificate that was issued here. */
export function issuedRowIn(row: string): Place | undefined {
  return placeIn(row, 'issued')
}

/** Whose row it is, where it says that a certificate was revoked. */
export function revokedRowIn(row: string): Place | undefined {
  return placeIn(row, 'revoked')
}

function placeIn(row: string, wanted: string): Place | undefined {
  const [kind, id, serial] = row.split('.')
  return kind === wanted && id !== undefined && serial !== undefined ? { id, serial } : undefined
}

/** All that is kept of a CA: its own row, its list, and what it issued and revoked. */
export function rowsOfAuthority(rows: Rows, id: string): readonly string[] {
  return [...rows.keys()].filter(row => row.split('.')[1] === id)
}

/** A serial number as it is kept: lower-case hex, two digits a byte, without zeros in front. @param text hex in any spelling */
export function serialOf(text: string): string {
  const digits = text.replaceAll(':', '').toLowerCase()
  return (digits.length % 2 === 1 ? `0${digits}` : digits).replace(/^(00)+(?=..)/, '')
}

export function issuedOf(rows: Rows, id: string, serial: string): IssuedRecord | undefined {
  return rows.get(issuedRow(id, serial)) as IssuedRecord | undefined
}

export function isRevoked(rows: Rows, id: string, serial: string): boolean {
  return rows.has(revokedRow(id, serial))
}

export function revocationListOf(rows: Rows, id: string): RevocationListRecord | undefined {
  return rows.get(revocationListRow(id)) as RevocationListRecord | undefined
}

/** The certificates that a CA issued, by serial. */
export function issuedBy(rows: Rows, id: string): ReadonlyMap<string, IssuedRecord> {
  const prefix = issuedRow(id, '')
  const own = [...rows].filter(([row]) => row.startsWith(prefix))
  return new Map(own.map(([row, value]) => [row.slice(prefix.length), value as unknown as IssuedRecord]))
}

/** A row as the store takes it. */
export function putRow(
  id: string,
  value: AuthorityRecord | IssuedRecord | RevokedRecord | RevocationListRecord,
): Extract<Change, { put: 'record' }> {
  return { put: 'record', namespace: CERTIFICATES, id, value: value as unknown as Json }
}

export function deleteRow(id: string): Extract<Change, { delete: 'record' }> {
  return { delete: 'record', namespace: CERTIFICATES, id }
}
