import type { Identity } from '@postern/interface'
import type { Snapshot } from '@postern/store'
import { certificateRows, revocationListOf } from './records.ts'

const AUTHORITY_KEY = /^certificate-authority:([0-9a-f]+)$/

/** Whether the revocation list of a certificate's CA has ended: it is not known any more whether the certificate is good. */
export function hasListEnded({ issuer, revokeKeys }: Identity, snapshot: Snapshot, now: number): boolean {
  if (issuer !== 'postern:mtls') return false
  const rows = certificateRows(snapshot)
  return revokeKeys.some(key => {
    const id = AUTHORITY_KEY.exec(key)?.[1]
    const { nextUpdate } = (id !== undefined && revocationListOf(rows, id)) || {}
    return nextUpdate !== undefined && !(nextUpdate > now)
  })
}
