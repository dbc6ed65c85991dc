import { PosternError } from '@postern/interface'
import { issueCertificate } from '@postern/pki'
import type { Change, Snapshot } from '@postern/store'
import type { Seal } from '../keys/seal.ts'
import { type Authority, authoritiesIn } from './authorities.ts'
import {
  certificateRows,
  type IssuedRecord,
  isRevoked,
  issuedBy,
  issuedRow,
  type NameRecord,
  putRow,
} from './records.ts'

/** What a certificate is to say. */
export interface WantedLeaf {
  /** SPKI, PEM. */
  readonly publicKey: string
  readonly commonName?: string
  readonly san: readonly NameRecord[]
  /** At most what the CA says; default: that. */
  readonly seconds?: number
  /** Milliseconds since the epoch, after which it must not be good. */
  readonly until?: number
}

/** A certificate that nobody knows of yet. */
export interface Signed {
  readonly serial: string
  /** PEM. */
  readonly certificate: string
  /** PEM of the CA's certificate above it. */
  readonly chain: string
  readonly facts: Pick<
    IssuedRecord,
    'fingerprint' | 'authority' | 'commonName' | 'san' | 'notBefore' | 'notAfter' | 'seconds'
  >
}

/** Who it is for, and who asked. */
export type Asking = Pick<IssuedRecord, 'holder' | 'replaces' | 'from' | 'firstIssuedAt' | 'by'>

/** Certificates of one CA that are good at a time, and of one holder among them. Each is a row in memory. */
const MOST_ISSUED = 50_000
const MOST_HELD = 1000
/** Seconds: a certificate that is good for less is not worth making. */
export const SHORTEST = 60

/**
 * Signs. What was signed is worth nothing before it is kept: see {@link issuing}.
 *
 * @throws PosternError CONFLICT: the CA was imported without its key, or ends; BAD_USAGE: more time than the CA gives, a weak key,
 *   names that cannot be; CONFIG_INVALID: sealed with another key
 */
export async function sign(authority: Authority, wanted: WantedLeaf, seal: Pick<Seal, 'open'>): Promise<Signed> {
  const { name, record, certificates, fingerprints } = authority
  const { issuing } = record
  const cert = certificates[fingerprints.indexOf(issuing?.fingerprint ?? '')]
  if (issuing === undefined || cert === undefined)
    throw new PosternError('CONFLICT', `the CA ${name} was imported without its key, so it issues nothing`, {
      speaker: 'edge',
      next: 'Issue with the program that has the key, or rotate the CA to one that is made here.',
    })
  const { publicKey, commonName, san } = wanted
  const seconds = secondsFor(wanted, authority)
  const named = { ...(commonName !== undefined && { commonName }), san }
  const issued = await issueCertificate(
    { cert, key: seal.open(issuing.sealedKey) },
    { publicKey, ...named, seconds, usage: 'client' },
  ).catch(error => {
    throw cannotIssue(error, name)
  })
  const { fingerprint, notBefore, notAfter, serial } = issued
  const wished = wanted.seconds ?? record.leafSeconds
  const facts = { fingerprint, authority: issuing.fingerprint, ...named, notBefore, notAfter, seconds: wished }
  return { serial, certificate: issued.cert, chain: cert, facts }
}

/** A CA that cannot issue, because it has expired for example, is nothing that whoever asks can mend. */
function cannotIssue(error: unknown, name: string): unknown {
  if (!PosternError.is(error) || error.code !== 'CONFIG_INVALID') return error
  return new PosternError('CONFLICT', `the CA ${name} cannot issue: ${error.message}`, {
    cause: error,
    speaker: 'edge',
    next: 'Have an administrator rotate it: postern admin ca rotate.',
  })
}

function secondsFor({ seconds, until = Number.POSITIVE_INFINITY }: WantedLeaf, { name, record }: Authority): number {
  if (seconds !== undefined && seconds > record.leafSeconds)
    throw new PosternError('BAD_USAGE', `the CA ${name} gives certificates of ${record.leafSeconds} s at most`, {
      speaker: 'edge',
    })
  const left = Math.floor((until - Date.now()) / 1000)
  const given = Math.min(seconds ?? record.leafSeconds, left)
  if (given >= SHORTEST) return given
  throw new PosternError('CONFLICT', 'what vouches for it ends before a certificate would be of use', {
    speaker: 'edge',
    next: 'Have the credential that it is asked for with renewed first.',
  })
}

/**
 * The rows of a certificate that was signed.
 *
 * @throws PosternError CONFLICT: the CA is another one since; LIMIT_EXCEEDED
 */
export function issuing(
  snapshot: Snapshot,
  { id, name, record }: Authority,
  { serial, facts }: Signed,
  asking: Asking,
  now: number,
): { readonly changes: readonly Change[]; readonly issued: IssuedRecord } {
  const current = authoritiesIn(snapshot).get(id)
  const rows = certificateRows(snapshot)
  const isTaken = rows.has(issuedRow(id, serial)) || isRevoked(rows, id, serial)
  if (current?.record !== record || isTaken)
    throw new PosternError('CONFLICT', `the CA ${name} was changed meanwhile`, { speaker: 'edge', next: 'Ask again.' })
  const good = [...issuedBy(rows, id)].filter(([one, { notAfter }]) => notAfter > now && !isRevoked(rows, id, one))
  if (good.length >= MOST_ISSUED) throw tooMany(`the CA ${name} has ${MOST_ISSUED}`)
  if (asking.holder !== undefined) {
    const { issuer, subject } = asking.holder
    const own = good.filter(([, { holder }]) => holder?.issuer === issuer && holder.subject === subject)
    if (own.length >= MOST_HELD) throw tooMany(`who asks has ${MOST_HELD}`)
  }
  const issued: IssuedRecord = { ...facts, ...asking, issuedAt: now }
  return { changes: [putRow(issuedRow(id, serial), issued)], issued }
}

function tooMany(who: string): PosternError {
  return new PosternError('LIMIT_EXCEEDED', `${who} certificates that are good already`, {
    speaker: 'edge',
    next: 'Use one of these, have some revoked, or let them last shorter.',
  })
}

/** Until when a certificate renews itself; undefined: it does not. */
export function renewUntil({ firstIssuedAt, from }: IssuedRecord, { record }: Authority): number | undefined {
  if (record.renewSeconds === 0 || record.issuing === undefined || from !== undefined) return undefined
  return firstIssuedAt + record.renewSeconds * 1000
}
