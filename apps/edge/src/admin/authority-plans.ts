import { randomBytes } from 'node:crypto'
import type { Checked } from '@postern/admin'
import { PosternError } from '@postern/interface'
import type { Rule } from '@postern/policy'
import type { Change, Snapshot } from '@postern/store'
import { type Authority, authoritiesIn, fingerprintOf, mayBeNamedAt, namersOf } from '../certificates/authorities.ts'
import { type AuthorityCertificates, MOST_CERTIFICATES } from '../certificates/authority-certificates.ts'
import {
  type AuthorityRecord,
  authorityCertificateKey,
  authorityKey,
  authorityRow,
  certificateRows,
  deleteRow,
  putRow,
  removedAuthorityKey,
  rowsOfAuthority,
} from '../certificates/records.ts'
import { isHostname } from '../front/hostname.ts'
import type { Planned } from './handling.ts'
import { knownIn, readRules, rulesChanged } from './rules.ts'

/** A change of one CA. */
export type Changed = Omit<Planned<never>, 'answer'> & { readonly id: string }

/** All of them are in memory, and many in a handshake. */
const MOST_AUTHORITIES = 100
/** Characters of each side’s rules in an audit row, which takes 8,192 in all. */
const MOST_TOLD = 3000

type Wanted = Pick<Checked<'ca.import'>['body'], 'name' | 'rules' | 'hostnames' | 'leafSeconds' | 'renewSeconds'>

/** @throws PosternError ALREADY_EXISTS, LIMIT_EXCEEDED; BAD_USAGE, HOSTNAME_INVALID */
export function founding(
  { name, rules, hostnames, leafSeconds, renewSeconds }: Wanted,
  certificates: AuthorityCertificates,
  action: string,
  snapshot: Snapshot,
  now: number,
): Changed {
  mustBeFree(name, snapshot)
  if (authoritiesIn(snapshot).list().length >= MOST_AUTHORITIES)
    throw new PosternError('LIMIT_EXCEEDED', `there are ${MOST_AUTHORITIES} CAs already`, { speaker: 'edge' })
  mustBeItsOwn(certificates, undefined, snapshot)
  const value: AuthorityRecord = {
    name,
    ...certificates,
    ...(hostnames !== undefined && { hostnames: readHostnames(hostnames) }),
    rules: readIssuingRules(rules, name, snapshot),
    leafSeconds,
    renewSeconds,
    createdAt: now,
  }
  return saved(randomBytes(8).toString('hex'), value, undefined, action)
}

/** Whose a certificate of it is must have one answer. @throws PosternError ALREADY_EXISTS */
function mustBeItsOwn({ certificates }: AuthorityCertificates, id: string | undefined, snapshot: Snapshot): void {
  const own = certificates.map(fingerprintOf)
  const others = authoritiesIn(snapshot)
    .list()
    .filter(one => one.id !== id)
  const twin = others.find(one => one.fingerprints.some(each => own.includes(each)))
  if (twin !== undefined)
    throw new PosternError('ALREADY_EXISTS', `the CA ${twin.name} has that certificate already`, { speaker: 'edge' })
}

/** @throws PosternError ALREADY_EXISTS */
export function mustBeFree(name: string, snapshot: Snapshot): void {
  if (authoritiesIn(snapshot).find(name) === undefined) return
  throw new PosternError('ALREADY_EXISTS', `a CA is called ${name} already`, {
    speaker: 'edge',
    next: 'Use another name, or rotate the one there is.',
  })
}

/** What is not mentioned stays. @throws PosternError BAD_USAGE, HOSTNAME_INVALID */
export function changing(
  { id, name, record }: Authority,
  wanted: Checked<'ca.put'>['body'],
  snapshot: Snapshot,
): Changed {
  const { hostnames: before, ...kept } = record
  const { hostnames = before, rules, leafSeconds = kept.leafSeconds, renewSeconds = kept.renewSeconds } = wanted
  const value: AuthorityRecord = {
    ...kept,
    ...(hostnames !== undefined && hostnames !== null && { hostnames: readHostnames(hostnames) }),
    ...(rules !== undefined && { rules: readIssuingRules(rules, name, snapshot) }),
    leafSeconds,
    renewSeconds,
  }
  const was = before ?? [...snapshot.applications.keys()]
  const isNarrower = was.some(hostname => !mayBeNamedAt({ record: value }, hostname))
  return saved(id, value, record, 'ca.put', isNarrower ? [{ revoke: authorityKey(id) }] : [])
}

/** @throws PosternError ALREADY_EXISTS, LIMIT_EXCEEDED */
export function rotating(
  { id, name, record, fingerprints }: Authority,
  more: AuthorityCertificates,
  snapshot: Snapshot,
): Changed {
  mustBeItsOwn(more, id, snapshot)
  const fresh = more.certificates.filter(one => !fingerprints.includes(fingerprintOf(one)))
  // One that only verified so far may be given the key of a certificate it has.
  if (fresh.length === 0 && more.issuing === undefined)
    throw new PosternError('ALREADY_EXISTS', `the CA ${name} has these certificates already`, { speaker: 'edge' })
  const certificates = [...record.certificates, ...fresh]
  if (certificates.length > MOST_CERTIFICATES)
    throw new PosternError('LIMIT_EXCEEDED', `a CA has ${MOST_CERTIFICATES} certificates at most`, {
      speaker: 'edge',
      next: 'Retire those under which nothing is good any more.',
    })
  const { issuing = record.issuing } = more
  return saved(id, { ...record, certificates, ...(issuing !== undefined && { issuing }) }, record, 'ca.rotate')
}

/** @throws PosternError NOT_FOUND; CONFLICT: it is the only one, or issues */
export function retiring({ id, name, record, fingerprints }: Authority, fingerprint: string): Changed {
  if (!fingerprints.includes(fingerprint))
    throw new PosternError('NOT_FOUND', `the CA ${name} has no such certificate`, { speaker: 'edge' })
  if (fingerprints.length === 1)
    throw new PosternError('CONFLICT', `it is the only certificate of the CA ${name}`, {
      speaker: 'edge',
      next: 'Rotate the CA first, or delete it.',
    })
  if (record.issuing?.fingerprint === fingerprint)
    throw new PosternError('CONFLICT', `the CA ${name} issues with it`, {
      speaker: 'edge',
      next: 'Rotate the CA first: then the new one issues.',
    })
  const certificates = record.certificates.filter((_, at) => fingerprints[at] !== fingerprint)
  const cut = { revoke: authorityCertificateKey(id, fingerprint) }
  return saved(id, { ...record, certificates }, record, 'ca.retire', [cut])
}

/** With everything that is known of its certificates. @throws PosternError CONFLICT: something names it */
export function deleting({ id, name, fingerprints }: Authority, snapshot: Snapshot): Changed {
  const users = namersOf(name, snapshot)
  if (users.length > 0) {
    const more = users.length > 5 ? ` and ${users.length - 5} more` : ''
    throw new PosternError('CONFLICT', `the CA ${name} is named by ${users.slice(0, 5).join(', ')}${more}`, {
      speaker: 'edge',
      next: 'Take it out of these rules first.',
    })
  }
  const rows = rowsOfAuthority(certificateRows(snapshot), id).map(deleteRow)
  const cut = [{ revoke: authorityKey(id) }, { revoke: removedAuthorityKey(id) }]
  return { id, changes: [...rows, ...cut], action: 'ca.delete', detail: { ca: name, id, fingerprints } }
}

function saved(
  id: string,
  value: AuthorityRecord,
  before: AuthorityRecord | undefined,
  action: string,
  cut: readonly Change[] = [],
): Changed {
  const { name, certificates, hostnames, rules, leafSeconds, renewSeconds, issuing } = value
  const isSame = JSON.stringify(before) === JSON.stringify(value)
  const detail = {
    ca: name,
    id,
    certificates: certificates.map(fingerprintOf),
    ...(issuing !== undefined && { issuing: issuing.fingerprint }),
    ...(hostnames !== undefined && { hostnames: hostnames.slice(0, 20) }),
    leafSeconds,
    renewSeconds,
    rules: rulesChanged(before?.rules ?? [], rules, MOST_TOLD),
  }
  return { id, changes: isSame ? [] : [putRow(authorityRow(id), value), ...cut], action, detail }
}

/**
 * Who may ask for certificates, as it is kept.
 *
 * @throws PosternError BAD_USAGE: rules that cannot be, let somebody in whom nobody looked at, or permit a protocol something
 */
function readIssuingRules(
  sent: Checked<'ca.import'>['body']['rules'],
  name: string,
  snapshot: Snapshot,
): readonly Rule[] {
  const rules = readRules(sent, knownIn(snapshot, { protocols: new Map() }), `the CA ${name}`)
  for (const rule of rules) {
    const where = `the CA ${name}: rule ${JSON.stringify(rule.name)}`
    if (rule.action === 'bypass') throw badUsage(`${where}: a certificate is for somebody: bypass cannot be here`)
    if (rule.permit !== undefined) throw badUsage(`${where}: permit is for protocols, not for certificates`)
  }
  return rules
}

/** @throws PosternError HOSTNAME_INVALID */
function readHostnames(hostnames: readonly string[]): readonly string[] {
  const wrong = hostnames.find(one => !isHostname(one))
  if (wrong !== undefined)
    throw new PosternError('HOSTNAME_INVALID', `${JSON.stringify(wrong)} is not a hostname`, { speaker: 'edge' })
  return [...new Set(hostnames)].sort()
}

function badUsage(message: string): PosternError {
  return new PosternError('BAD_USAGE', message, { speaker: 'edge' })
}
