import type { Certificate, Checked } from '@postern/admin'
import { PosternError } from '@postern/interface'
import { readCertificateRequest } from '@postern/pki'
import type { Snapshot } from '@postern/store'
import { type Authority, authoritiesIn } from '../certificates/authorities.ts'
import { issuing, renewUntil, sign } from '../certificates/issue.ts'
import { readNames } from '../certificates/names.ts'
import {
  certificateRows,
  type IssuedRecord,
  isRevoked,
  issuedOf,
  issuedRowIn,
  type RevokedRecord,
  revokedRow,
  serialOf,
} from '../certificates/records.ts'
import { goodOnes, type Revocable, revocation, successorsOf } from '../certificates/revoke.ts'
import { emailOf } from '../sign-in/users.ts'
import { mustBeAuthority } from './authorities.ts'
import type { Handlers, Planned } from './handling.ts'
import { instantOf } from './records.ts'

export const CERTIFICATES: Handlers<'certificate.list' | 'certificate.issue' | 'certificate.revoke'> = {
  'certificate.list': ({ store: { snapshot }, now }, { query }) => listed(query, snapshot, now),
  'certificate.issue': async (handling, { params: { ca }, body }) => {
    const { csr, commonName, seconds } = body
    const authority = mustBeAuthority(handling.store.snapshot, ca)
    const { publicKey } = await readCertificateRequest(csr)
    const wanted = { publicKey, san: readNames(body.san), ...(commonName !== undefined && { commonName }) }
    mustSaySomething(wanted)
    const signed = await sign(authority, { ...wanted, ...(seconds !== undefined && { seconds }) }, handling.seal)
    return handling.change((snapshot, now) => {
      const { serial, certificate, chain } = signed
      const asking = { firstIssuedAt: now, by: handling.note.actor }
      const { changes, issued } = issuing(snapshot, authority, signed, asking, now)
      return {
        changes,
        action: 'certificate.issue',
        detail: detailOf(authority, serial, issued),
        answer: () => ({ ...shown(authority, serial, issued, undefined), certificate, chain }),
      }
    })
  },
  'certificate.revoke': (handling, { params: { ca }, body }) =>
    handling.change((snapshot, now) => revoking(mustBeAuthority(snapshot, ca), body, snapshot, now)),
}

/** Rows of one answer. */
const MOST_LISTED = 1000
/** Serials of other programs’ certificates that are kept by name: of more, a list is for. */
const MOST_REVOKED = 100_000
/** Serials that an audit row names. */
const MOST_NAMED = 50

function listed(query: Checked<'certificate.list'>['query'], snapshot: Snapshot, now: number): Certificate[] {
  const { ca, name, serial } = query
  const authorities = authoritiesIn(snapshot)
  const rows = certificateRows(snapshot)
  const only = ca === undefined ? undefined : mustBeAuthority(snapshot, ca).id
  const wanted = serial === undefined ? undefined : readSerial(serial)
  const found = [...rows].flatMap(([row, value]) => {
    const place = issuedRowIn(row)
    const authority = authorities.get(place?.id ?? '')
    if (place === undefined || authority === undefined || (only !== undefined && place.id !== only)) return []
    const issued = value as unknown as IssuedRecord
    if (issued.notAfter <= now || (wanted !== undefined && place.serial !== wanted)) return []
    return name === undefined || isNamed(issued, name) ? [{ authority, serial: place.serial, issued }] : []
  })
  return found
    .sort((one, other) => other.issued.issuedAt - one.issued.issuedAt)
    .slice(0, MOST_LISTED)
    .map(one => {
      const revoked = rows.get(revokedRow(one.authority.id, one.serial)) as RevokedRecord | undefined
      return shown(one.authority, one.serial, one.issued, revoked?.at)
    })
}

function isNamed({ commonName, san }: IssuedRecord, name: string): boolean {
  return commonName === name || san.some(({ value }) => value === name)
}

function mustSaySomething({
  commonName,
  san,
}: {
  readonly commonName?: string
  readonly san: readonly unknown[]
}): void {
  if (commonName === undefined && san.length === 0)
    throw badUsage('a certificate needs a commonName, or at least one name in san')
}

type Meant = Checked<'certificate.revoke'>['body']

function revoking(
  authority: Authority,
  meant: Meant,
  snapshot: Snapshot,
  now: number,
): Planned<{ readonly revoked: number }> {
  const { id, name } = authority
  const found = serialsOf(authority, meant, snapshot, now)
  const serials = found.map(({ serial }) => serial)
  return {
    changes: found.flatMap(one => revocation(one.id, one.serial, one.notAfter, now)),
    action: 'certificate.revoke',
    detail: { ca: name, id, ...meant, revoked: found.length, serials: serials.slice(0, MOST_NAMED) },
    answer: () => ({ revoked: found.length }),
  }
}

/** A serial may be of a certificate that another program issued: it is taken at its word. */
function serialsOf({ id }: Authority, meant: Meant, snapshot: Snapshot, now: number): readonly Revocable[] {
  if ('serial' in meant) {
    const rows = certificateRows(snapshot)
    const serial = readSerial(meant.serial)
    const after = successorsOf([{ id, serial }], snapshot, now)
    if (isRevoked(rows, id, serial)) return after
    mustHaveRoom(id, snapshot)
    return [{ id, serial, notAfter: issuedOf(rows, id, serial)?.notAfter }, ...after]
  }
  const isMeant = 'email' in meant ? byEmail(meant.email) : byHolder(meant)
  const good = goodOnes(snapshot, (issued, of) => of === id && isMeant(issued), now)
  const found = good.map(({ serial, issued }) => ({ id, serial, notAfter: issued.notAfter }))
  return [...found, ...successorsOf(found, snapshot, now)]
}

function byEmail(text: string): (issued: IssuedRecord) => boolean {
  const email = emailOf(text)
  if (email === undefined) throw badUsage('email is not an address of one @ and ASCII letters')
  return ({ san }) => san.some(({ type, value }) => type === 'email' && value === email)
}

function byHolder({ issuer, subject }: Extract<Meant, { issuer: string }>): (issued: IssuedRecord) => boolean {
  return ({ holder }) => holder?.issuer === issuer && holder.subject === subject
}

function mustHaveRoom(id: string, snapshot: Snapshot): void {
  const prefix = revokedRow(id, '')
  const count = [...certificateRows(snapshot).keys()].filter(row => row.startsWith(prefix)).length
  if (count < MOST_REVOKED) return
  throw new PosternError('LIMIT_EXCEEDED', `${MOST_REVOKED} certificates of this CA are revoked already`, {
    speaker: 'edge',
    next: 'Give the edge the CA’s own revocation list instead.',
  })
}

/** @throws PosternError BAD_USAGE */
function readSerial(text: string): string {
  const serial = serialOf(text)
  if (serial !== '') return serial
  throw badUsage('serial has no digit')
}

function shown(authority: Authority, serial: string, issued: IssuedRecord, revokedAt: number | undefined): Certificate {
  const { fingerprint, commonName, san, notBefore, notAfter, issuedAt, holder, by, replaces } = issued
  const renews = renewUntil(issued, authority)
  return {
    ca: authority.name,
    serial,
    fingerprint,
    ...(commonName !== undefined && { commonName }),
    san: [...san],
    notBefore: instantOf(notBefore),
    notAfter: instantOf(notAfter),
    issuedAt: instantOf(issuedAt),
    ...(holder !== undefined && { holder }),
    by,
    ...(replaces !== undefined && { replaces }),
    ...(renews !== undefined && { renewUntil: instantOf(renews) }),
    ...(revokedAt !== undefined && { revokedAt: instantOf(revokedAt) }),
  }
}

/** What an audit row says of a certificate: never the certificate itself, whose names may be many. */
export function detailOf({ id, name }: Pick<Authority, 'id' | 'name'>, serial: string, issued: IssuedRecord) {
  const { fingerprint, commonName, san, notAfter, holder, replaces } = issued
  return {
    ca: name,
    id,
    serial,
    fingerprint,
    ...(commonName !== undefined && { commonName }),
    san: san.slice(0, 10).map(({ type, value }) => `${type}:${value}`.slice(0, 300)),
    notAfter: instantOf(notAfter),
    ...(holder !== undefined && { holder }),
    ...(replaces !== undefined && { replaces }),
  }
}

function badUsage(message: string): PosternError {
  return new PosternError('BAD_USAGE', message, { speaker: 'edge' })
}
