import { createHash, X509Certificate } from 'node:crypto'
import type { Rule } from '@postern/policy'
import type { Snapshot } from '@postern/store'
import type { Authority } from './authorities.ts'
import { renewUntil } from './issue.ts'
import { certificateRows, type IssuedRecord, issuedOf, serialOf } from './records.ts'

/** A certificate that was issued here and may be followed by another one for the same holder. */
export interface Renewable {
  readonly serial: string
  readonly issued: IssuedRecord
  /** Who is let in by it: whoever proves exactly this certificate. Whether it is good is for the verifier, as everywhere. */
  readonly rules: readonly Rule[]
}

/** @param der of the leaf whose key the socket proved */
export function renewableOf(
  der: Uint8Array | undefined,
  authority: Authority,
  snapshot: Snapshot,
  now: number,
): Renewable | undefined {
  const serial = der && serialIn(der)
  if (der === undefined || serial === undefined) return undefined
  const issued = issuedOf(certificateRows(snapshot), authority.id, serial)
  const fingerprint = createHash('sha256').update(der).digest('hex')
  if (issued?.fingerprint !== fingerprint) return undefined
  const until = renewUntil(issued, authority)
  if (until === undefined || until <= now) return undefined
  const certificate = { ca: authority.name, fingerprint }
  // Whoever may ask no more may renew; whom the CA denies may not.
  const denied = authority.record.rules.filter(({ action }) => action === 'deny')
  return { serial, issued, rules: [...denied, { name: 'renewal', action: 'allow', include: [{ certificate }] }] }
}

function serialIn(der: Uint8Array): string | undefined {
  try {
    return serialOf(new X509Certificate(der).serialNumber)
  } catch {
    return undefined
  }
}
