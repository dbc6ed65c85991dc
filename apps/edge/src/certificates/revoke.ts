import type { Json } from '@postern/interface'
import type { Change, Snapshot } from '@postern/store'
import { authoritiesIn } from './authorities.ts'
import {
  authorityRow,
  certificateKey,
  certificateRows,
  deleteRow,
  type IssuedRecord,
  isRevoked,
  issuedOf,
  issuedRowIn,
  putRow,
  revokedRow,
  rowsOfAuthority,
} from './records.ts'

/** A certificate is good no more from now on, and what was opened by it ends. @param notAfter where it is known */
export function revocation(id: string, serial: string, notAfter: number | undefined, now: number): readonly Change[] {
  const record = { at: now, ...(notAfter !== undefined && { notAfter }) }
  return [putRow(revokedRow(id, serial), record), { revoke: certificateKey(id, serial) }]
}

/** Those that were issued here, are good, and are meant. */
export function goodOnes(
  snapshot: Snapshot,
  isMeant: (issued: IssuedRecord, id: string, serial: string) => boolean,
  now: number,
): readonly { readonly id: string; readonly serial: string; readonly issued: IssuedRecord }[] {
  const rows = certificateRows(snapshot)
  return [...rows].flatMap(([row, value]) => {
    const place = issuedRowIn(row)
    if (place === undefined) return []
    const issued = value as unknown as IssuedRecord
    const isGood = issued.notAfter > now && !isRevoked(rows, place.id, place.serial)
    return isGood && isMeant(issued, place.id, place.serial) ? [{ ...place, issued }] : []
  })
}

/** Everything that somebody holds: with them it ends. @param subject absent: whoever the issuer vouched for */
export function revocationOfHeld(
  snapshot: Snapshot,
  { issuer, subject }: { readonly issuer: string; readonly subject?: string },
  now: number,
): readonly Change[] {
  const isTheirs = ({ holder }: IssuedRecord) =>
    holder?.issuer === issuer && (subject === undefined || holder.subject === subject)
  const held = goodOnes(snapshot, isTheirs, now).map(one => ({ ...one, notAfter: one.issued.notAfter }))
  const all = [...held, ...successorsOf(held, snapshot, now)]
  return all.flatMap(({ id, serial, notAfter }) => revocation(id, serial, notAfter, now))
}

/** A certificate that may be revoked. */
export interface Revocable {
  /** Of the CA. */
  readonly id: string
  readonly serial: string
  readonly notAfter: number | undefined
}

/** Those, without these, that were renewed or asked for with them, and with these in turn: whoever had a key may have had them. */
export function successorsOf(
  of: readonly Pick<Revocable, 'id' | 'serial'>[],
  snapshot: Snapshot,
  now: number,
): readonly Revocable[] {
  const rows = certificateRows(snapshot)
  const had = Map.groupBy([...rows].flatMap(hadWith), ({ parent }) => parent)
  const keys = new Set(of.map(({ id, serial }) => certificateKey(id, serial)))
  const found: Revocable[] = []
  for (const key of keys)
    for (const one of had.get(key) ?? []) {
      const own = certificateKey(one.id, one.serial)
      if (!keys.has(own)) found.push(one)
      // A set is gone through to its end, with what is added meanwhile.
      keys.add(own)
    }
  return found.filter(({ id, serial, notAfter = 0 }) => notAfter > now && !isRevoked(rows, id, serial))
}

/** What a certificate that was issued here was renewed or asked for with, if anything. */
function hadWith([row, value]: readonly [string, Json]): readonly (Revocable & { readonly parent: string })[] {
  const place = issuedRowIn(row)
  if (place === undefined) return []
  const { replaces, from, notAfter } = value as unknown as IssuedRecord
  const parent = replaces === undefined ? from : certificateKey(place.id, replaces)
  return parent === undefined ? [] : [{ ...place, parent, notAfter }]
}

/**
 * What an older copy of the database does not know any more.
 *
 * @param key a revoke key that is remembered from before
 */
export function certificatesRevokedAgain(key: string, snapshot: Snapshot, now: number): readonly Change[] {
  const [kind, id = '', rest] = key.split(':')
  const rows = certificateRows(snapshot)
  const authority = authoritiesIn(snapshot).get(id)
  if (authority === undefined) return []
  if (kind === 'certificate-authority-removed') return rowsOfAuthority(rows, id).map(deleteRow)
  if (rest === undefined) return []
  if (kind === 'certificate') return revocation(id, rest, issuedOf(rows, id, rest)?.notAfter, now)
  const { record, fingerprints } = authority
  const certificates = record.certificates.filter((_, at) => fingerprints[at] !== rest)
  if (certificates.length === record.certificates.length) return []
  // The last one of the copy: all that the CA has now came later, and is not there.
  if (certificates.length === 0) return rowsOfAuthority(rows, id).map(deleteRow)
  const { issuing, ...kept } = record
  const still = issuing === undefined || issuing.fingerprint === rest ? {} : { issuing }
  return [putRow(authorityRow(id), { ...kept, certificates, ...still })]
}
