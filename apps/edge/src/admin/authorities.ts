import { X509Certificate } from 'node:crypto'
import type { Authority as Answered } from '@postern/admin'
import { PosternError } from '@postern/interface'
import type { Snapshot } from '@postern/store'
import { type Authority, authoritiesIn, fingerprintOf } from '../certificates/authorities.ts'
import { importedCertificates, newCertificate } from '../certificates/authority-certificates.ts'
import { certificateRows, revocationListOf } from '../certificates/records.ts'
import { mustBeVersion } from './applications.ts'
import { type Changed, changing, deleting, founding, mustBeFree, retiring, rotating } from './authority-plans.ts'
import type { Handlers, Handling, Planned } from './handling.ts'
import { instantOf } from './records.ts'
import { sentRules } from './rules.ts'

export const AUTHORITIES: Handlers<
  'ca.list' | 'ca.create' | 'ca.import' | 'ca.get' | 'ca.put' | 'ca.rotate' | 'ca.retire' | 'ca.delete'
> = {
  'ca.list': ({ store: { snapshot } }) =>
    authoritiesIn(snapshot)
      .list()
      .map(one => shownAuthority(one, snapshot)),
  'ca.get': ({ store: { snapshot } }, { params: { ca } }) => shownAuthority(mustBeAuthority(snapshot, ca), snapshot),
  'ca.create': async (handling, { body }) => {
    // Before a key is made for nothing.
    mustBeFree(body.name, handling.store.snapshot)
    const made = await newCertificate(body.name, body, handling.seal)
    return saving(handling, (snapshot, now) => founding(body, made, 'ca.create', snapshot, now))
  },
  'ca.import': (handling, { body }) => {
    const read = importedCertificates(body, handling.seal)
    return saving(handling, (snapshot, now) => founding(body, read, 'ca.import', snapshot, now))
  },
  'ca.put': (handling, { params: { ca }, body }) =>
    saving(handling, snapshot => {
      mustBeVersion(snapshot, body.ifVersion)
      return changing(mustBeAuthority(snapshot, ca), body, snapshot)
    }),
  'ca.rotate': async (handling, { params: { ca }, body }) => {
    const { name } = mustBeAuthority(handling.store.snapshot, ca)
    const more =
      'certificates' in body
        ? importedCertificates(body, handling.seal)
        : await newCertificate(name, body, handling.seal)
    return saving(handling, snapshot => rotating(mustBeAuthority(snapshot, ca), more, snapshot))
  },
  'ca.retire': (handling, { params: { ca, fingerprint } }) =>
    saving(handling, snapshot => retiring(mustBeAuthority(snapshot, ca), fingerprint)),
  'ca.delete': (handling, { params: { ca } }) =>
    handling.change(snapshot => ({
      ...deleting(mustBeAuthority(snapshot, ca), snapshot),
      answer: () => undefined,
    })),
}

/** A change of a CA, answered with what it is then. */
export function saving(handling: Handling, plan: (snapshot: Snapshot, now: number) => Changed): Promise<Answered> {
  return handling.change((snapshot, now): Planned<Answered> => {
    const { id, ...planned } = plan(snapshot, now)
    return { ...planned, answer: after => shownAuthority(mustBeAuthority(after, id), after) }
  })
}

/** By id or name. @throws PosternError NOT_FOUND */
export function mustBeAuthority(snapshot: Snapshot, idOrName: string): Authority {
  const found = authoritiesIn(snapshot).find(idOrName)
  if (found !== undefined) return found
  throw new PosternError('NOT_FOUND', `no CA ${JSON.stringify(idOrName)}`, {
    speaker: 'edge',
    next: 'postern admin ca list shows those there are.',
  })
}

/** Never the key. */
function shownAuthority({ id, name, record, certificates }: Authority, snapshot: Snapshot): Answered {
  const { hostnames, rules, leafSeconds, renewSeconds, createdAt, issuing } = record
  const authorities = authoritiesIn(snapshot)
  const namedBy = [...snapshot.applications.values()].filter(application =>
    authorities.trustedBy(application, snapshot.groups)?.authorities.some(one => one.id === id),
  )
  return {
    id,
    name,
    certificates: certificates.map(pem => shownCertificate(pem, issuing?.fingerprint)),
    ...(hostnames !== undefined && { hostnames: [...hostnames] }),
    rules: sentRules(rules, token => token),
    leafSeconds,
    renewSeconds,
    createdAt: instantOf(createdAt),
    ...shownList(id, snapshot),
    applications: namedBy.map(({ hostname }) => hostname).sort(),
  }
}

function shownCertificate(pem: string, issuing: string | undefined): Answered['certificates'][number] {
  const { subject, validFromDate, validToDate, publicKey } = new X509Certificate(pem)
  const fingerprint = fingerprintOf(pem)
  return {
    fingerprint,
    subject: (subject ?? '').split('\n').join(', '),
    notBefore: validFromDate.toISOString(),
    notAfter: validToDate.toISOString(),
    keyType: publicKey.asymmetricKeyType ?? 'unknown',
    issuing: fingerprint === issuing,
    pem,
  }
}

function shownList(id: string, snapshot: Snapshot): Pick<Answered, 'revocationList'> {
  const list = revocationListOf(certificateRows(snapshot), id)
  if (list === undefined) return {}
  const { number, thisUpdate, nextUpdate, serials } = list
  return {
    revocationList: {
      ...(number !== undefined && { number }),
      thisUpdate: instantOf(thisUpdate),
      ...(nextUpdate !== undefined && { nextUpdate: instantOf(nextUpdate) }),
      serials: serials.length,
    },
  }
}
