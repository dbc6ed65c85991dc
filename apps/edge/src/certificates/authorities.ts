import { createHash, X509Certificate } from 'node:crypto'
import type { Json } from '@postern/interface'
import type { Groups, Rule, Selector } from '@postern/policy'
import type { ApplicationRecord, Snapshot } from '@postern/store'
import { type AuthorityRecord, authorityIdIn, certificateRows } from './records.ts'

/** A CA, with what is read of its certificates. */
export interface Authority {
  readonly id: string
  readonly name: string
  /** PEM, one certificate each. */
  readonly certificates: readonly string[]
  /** Of each of them: SHA-256 of its DER, lower-case hex. */
  readonly fingerprints: readonly string[]
  readonly record: AuthorityRecord
}

/** What an application wants of whoever connects to it. */
export interface Trusted {
  /** The same text for the same set of CA certificates, and for no other. */
  readonly key: string
  readonly authorities: readonly Authority[]
  /** PEM of all their certificates. */
  readonly certificates: readonly string[]
}

/** The CAs of a team. The very same object for as long as none of them changes, whatever they issue meanwhile. */
export class Authorities {
  readonly #byId: ReadonlyMap<string, Authority>
  readonly #trusted = new WeakMap<
    ApplicationRecord,
    { readonly groups: Groups; readonly trusted: Trusted | undefined }
  >()

  constructor(all: readonly Authority[]) {
    this.#byId = new Map(all.map(one => [one.id, one]))
  }

  list(): readonly Authority[] {
    return [...this.#byId.values()]
  }

  get(id: string): Authority | undefined {
    return this.#byId.get(id)
  }

  byName(name: string): Authority | undefined {
    return this.list().find(one => one.name === name)
  }

  /** By id or name. */
  find(idOrName: string): Authority | undefined {
    return this.get(idOrName) ?? this.byName(idOrName)
  }

  /**
   * The CAs that an application's rules name, in groups too. One that names none means every CA that may be named there.
   *
   * @returns undefined where it wants no certificate: no rule is about one, or no CA that it could be of is there
   */
  trustedBy(application: ApplicationRecord, groups: Groups): Trusted | undefined {
    // Most edges have none: nothing is looked at then.
    if (this.#byId.size === 0) return undefined
    const known = this.#trusted.get(application)
    if (known?.groups === groups) return known.trusted
    const trusted = this.#trustedBy(application, groups)
    this.#trusted.set(application, { groups, trusted })
    return trusted
  }

  #trustedBy({ hostname, rules }: ApplicationRecord, groups: Groups): Trusted | undefined {
    const named = authoritiesNamed(selectorsIn(rules), groups)
    const isNamed = ({ name }: Authority) => named === 'any' || named.has(name)
    const authorities = this.list().filter(one => isNamed(one) && mayBeNamedAt(one, hostname))
    if (authorities.length === 0) return undefined
    const fingerprints = new Set(authorities.flatMap(one => one.fingerprints))
    const key = createHash('sha256')
      .update([...fingerprints].sort().join())
      .digest('base64url')
    return { key, authorities, certificates: [...new Set(authorities.flatMap(one => one.certificates))] }
  }
}

/** What whoever connects to a hostname is asked for; undefined: no certificate. */
export function certificateRuleOf(snapshot: Snapshot, hostname: string): Trusted | undefined {
  const application = snapshot.applications.get(hostname)
  return application && authoritiesIn(snapshot).trustedBy(application, snapshot.groups)
}

/** Whether an application's rules may name a CA. */
export function mayBeNamedAt({ record: { hostnames } }: Pick<Authority, 'record'>, hostname: string): boolean {
  return hostnames === undefined || hostnames.includes(hostname)
}

/** The names of CAs that selectors are about, in groups too; `any` where one is about all there are. */
function authoritiesNamed(selectors: readonly Selector[], groups: Groups): ReadonlySet<string> | 'any' {
  const left = [...selectors]
  const seen = new Set<string>()
  const named = new Set<string>()
  for (const one of left) {
    if ('inGroup' in one && !seen.has(one.inGroup)) {
      seen.add(one.inGroup)
      if (Object.hasOwn(groups, one.inGroup)) for (const member of groups[one.inGroup] ?? []) left.push(member)
    }
    if (!('certificate' in one)) continue
    if (one.certificate.ca === undefined) return 'any'
    named.add(one.certificate.ca)
  }
  return named
}

function selectorsIn(rules: readonly Rule[]): readonly Selector[] {
  return rules.flatMap(({ include, require = [], exclude = [] }) => [...include, ...require, ...exclude])
}

/** What names a CA in rules: applications, groups, and other CAs. */
export function namersOf(name: string, snapshot: Snapshot): readonly string[] {
  const isNamed = (selectors: readonly Selector[] = []) =>
    selectors.some(one => 'certificate' in one && one.certificate.ca === name)
  const inRules = (rules: readonly Rule[]) =>
    rules.some(({ include, require, exclude }) => [include, require, exclude].some(isNamed))
  return [
    ...[...snapshot.applications.values()].filter(({ rules }) => inRules(rules)).map(({ hostname }) => hostname),
    ...Object.entries(snapshot.groups).flatMap(([group, selectors]) =>
      isNamed(selectors) ? [`the group ${group}`] : [],
    ),
    ...authoritiesIn(snapshot)
      .list()
      .filter(({ record }) => inRules(record.rules))
      .map(one => `the CA ${one.name}`),
  ]
}

const NONE = new Authorities([])
const OF_ROWS = new WeakMap<ReadonlyMap<string, Json>, Authorities>()
const READ = new WeakMap<object, Authority>()
/** Those that were read last: rows change with every certificate, CAs seldom. */
let last: Authorities = NONE

/** The CAs of a snapshot. Each row is read once. */
export function authoritiesIn(snapshot: Pick<Snapshot, 'records'>): Authorities {
  const rows = certificateRows(snapshot)
  const known = OF_ROWS.get(rows)
  if (known !== undefined) return known
  const all: Authority[] = []
  for (const [row, value] of rows) {
    const id = authorityIdIn(row)
    const authority = id === undefined ? undefined : read(id, value as unknown as AuthorityRecord)
    if (authority !== undefined) all.push(authority)
  }
  const found = isSame(all, last.list()) ? last : new Authorities(all)
  last = found
  OF_ROWS.set(rows, found)
  return found
}

/** @returns undefined where it cannot be read: nobody is let in by it */
function read(id: string, record: AuthorityRecord): Authority | undefined {
  const known = READ.get(record)
  if (known !== undefined) return known
  const { name, certificates } = record
  try {
    const authority = { id, name, certificates, fingerprints: certificates.map(fingerprintOf), record }
    READ.set(record, authority)
    return authority
  } catch {
    return undefined
  }
}

function isSame(some: readonly Authority[], others: readonly Authority[]): boolean {
  return some.length === others.length && some.every((one, at) => one === others[at])
}

/** SHA-256 of a certificate's DER, lower-case hex. */
export function fingerprintOf(certificate: string): string {
  return new X509Certificate(certificate).fingerprint256.replaceAll(':', '').toLowerCase()
}
