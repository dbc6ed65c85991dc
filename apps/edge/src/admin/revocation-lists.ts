import { X509Certificate } from 'node:crypto'
import { PosternError } from '@postern/interface'
import { readRevocationList } from '@postern/pki'
import { onOneLine } from '@postern/pki/leaf'
import type { Change } from '@postern/store'
import type { Authority } from '../certificates/authorities.ts'
import { asSent } from '../certificates/authority-certificates.ts'
import {
  authorityKey,
  certificateKey,
  certificateRows,
  deleteRow,
  putRow,
  type RevocationListRecord,
  revocationListOf,
  revocationListRow,
} from '../certificates/records.ts'
import { mustBeAuthority, saving } from './authorities.ts'
import type { Handlers } from './handling.ts'
import { instantOf } from './records.ts'

export const REVOCATION_LISTS: Handlers<'crl.put' | 'crl.delete'> = {
  'crl.put': async (handling, { params: { ca }, body: { crl } }) => {
    const read = await readList(crl, mustBeAuthority(handling.store.snapshot, ca))
    return saving(handling, snapshot => {
      const { id, name, certificates } = mustBeAuthority(snapshot, ca)
      if (!read.of.every(one => certificates.includes(one)))
        throw new PosternError('CONFLICT', `the CA ${name} was changed meanwhile`, { speaker: 'edge' })
      const before = revocationListOf(certificateRows(snapshot), id)
      if (before?.issuer === undefined || before.issuer === read.list.issuer) mustBeNewer(read.list, before)
      else mustBeGone(before.issuer, certificates)
      const { number, thisUpdate, serials } = read.list
      const detail = { ca: name, id, ...(number !== undefined && { number }), thisUpdate: instantOf(thisUpdate) }
      return {
        id,
        changes: [putRow(revocationListRow(id), read.list), ...cuts(id, serials, before?.serials ?? [])],
        action: 'crl.put',
        detail: { ...detail, serials: serials.length },
      }
    })
  },
  'crl.delete': (handling, { params: { ca } }) =>
    saving(handling, snapshot => {
      const { id, name } = mustBeAuthority(snapshot, ca)
      const before = revocationListOf(certificateRows(snapshot), id)
      if (before === undefined)
        throw new PosternError('NOT_FOUND', `the CA ${name} has no revocation list`, { speaker: 'edge' })
      const detail = { ca: name, id, serials: before.serials.length }
      return { id, changes: [deleteRow(revocationListRow(id))], action: 'crl.delete', detail }
    }),
}

/** Newly listed serials that are cut one by one; of more, everybody is cut who came by this CA, and the others come again. */
const MOST_CUTS = 1000

interface ReadList {
  readonly list: RevocationListRecord
  /** The certificates that it was verified with. */
  readonly of: readonly string[]
}

/** @throws PosternError BAD_USAGE: none of this CA, not whole, or not of now */
async function readList(text: string, { certificates }: Authority): Promise<ReadList> {
  const input = text.includes('-----BEGIN') ? text : Buffer.from(text, 'base64')
  const read = await readRevocationList(input, certificates.join('')).catch(error => {
    throw asSent(error)
  })
  const { issuer, number, thisUpdate, nextUpdate, serials } = read
  const list = {
    issuer,
    ...(number !== undefined && { number: String(number) }),
    thisUpdate,
    ...(nextUpdate !== undefined && { nextUpdate }),
    serials,
  }
  return { list, of: certificates }
}

/** A list that is older than the one there is would undo revocations. @throws PosternError CONFLICT */
function mustBeNewer({ number, thisUpdate }: RevocationListRecord, before: RevocationListRecord | undefined): void {
  if (before === undefined) return
  const isOlder =
    number !== undefined && before.number !== undefined
      ? BigInt(number) < BigInt(before.number)
      : thisUpdate < before.thisUpdate
  if (!isOlder) return
  throw new PosternError('CONFLICT', 'the list is older than the one there is', {
    speaker: 'edge',
    next: 'Give the current one. To go back all the same, take the one there is away first.',
  })
}

/** One list is kept of a CA: another certificate's would make good again what this one lists. @throws PosternError CONFLICT */
function mustBeGone(issuer: string, certificates: readonly string[]): void {
  if (!certificates.some(pem => onOneLine(new X509Certificate(pem).subject) === issuer)) return
  throw new PosternError('CONFLICT', 'the list there is, is of another certificate of this CA, and would be lost', {
    speaker: 'edge',
    next: 'Retire that certificate first, or import the new one as a CA of its own.',
  })
}

function cuts(id: string, serials: readonly string[], before: readonly string[]): readonly Change[] {
  const known = new Set(before)
  const more = serials.filter(one => !known.has(one))
  return more.length > MOST_CUTS
    ? [{ revoke: authorityKey(id) }]
    : more.map(serial => ({ revoke: certificateKey(id, serial) }))
}
