import { type PosternError, problem } from '@postern/interface'
import { decide } from '@postern/policy'
import type { ApplicationRecord, Snapshot, Store } from '@postern/store'
import { reasonOf } from '@postern/tunnel'
import type { AccessAdmission, Admission, ConnectorAdmission } from './authorize/authorize.ts'
import { policyOf } from './authorize/policy.ts'
import { hasListEnded } from './certificates/list-ended.ts'
import type { Sessions } from './sign-in/sessions.ts'

/** Milliseconds between looks at the clock: an expiry is noticed within this. */
const CHECK_INTERVAL = 1000

type Watched = Pick<Store, 'snapshot' | 'onChange'>

interface Open {
  readonly requestId: string
  /** What ends it by being revoked. */
  readonly keys: readonly string[]
  readonly ended: (snapshot: Snapshot, now: number) => string | undefined
  readonly cut: (reason: PosternError) => void
}

/**
 * Everything that is open because somebody was let in. Each is looked at again after every change of the store and every
 * second, and cut when it would not be let in now.
 */
export class Live implements Disposable {
  readonly #store: Watched
  readonly #sessions: Pick<Sessions, 'take'>
  readonly #open = new Set<Open>()
  readonly #timer: NodeJS.Timeout
  readonly #unsubscribe: () => void

  constructor(store: Watched, sessions: Pick<Sessions, 'take'>) {
    this.#store = store
    this.#sessions = sessions
    this.#unsubscribe = store.onChange(() => this.#check())
    this.#timer = setInterval(() => this.#check(), CHECK_INTERVAL).unref()
  }

  get count(): number {
    return this.#open.size
  }

  /** The revoke keys of everything that is open. */
  keysInUse(): ReadonlySet<string> {
    return new Set([...this.#open].flatMap(({ keys }) => keys))
  }

  /**
   * @param cut called at most once, perhaps before this returns: something may have changed while it was being let in
   * @returns forgets it
   */
  keepAccess(admission: AccessAdmission, cut: (reason: PosternError) => void): () => void {
    // What was decided holds as long as the application and the groups are the very same: deciding again for everybody, at every change,
    // would hold up those who carry bytes.
    const { snapshot: decidedBy } = this.#store
    let decided = admission.application
    let groups = decidedBy.version === admission.version ? decidedBy.groups : undefined
    let { identities } = admission
    const ended = (snapshot: Snapshot, now: number) => {
      const current = snapshot.applications.get(admission.hostname)
      const why = identityEnded({ identities, version: admission.version }, snapshot, now)
      if (why !== undefined || (current === decided && snapshot.groups === groups)) return why
      if (current !== undefined) decided = current
      groups = snapshot.groups
      // A session may last shorter for the application now.
      if (current !== undefined) identities = this.#sessions.take(admission.identities, current, now)
      if (identities.length < admission.identities.length) return 'the session has ended'
      return accessEnded(admission, current, snapshot, now)
    }
    return this.#keep({ requestId: admission.requestId, cut, ended, keys: keysOf(admission) })
  }

  keepConnector(admission: ConnectorAdmission, cut: (reason: PosternError) => void): () => void {
    const ended = (snapshot: Snapshot, now: number) => connectorEnded(admission, snapshot, now)
    return this.#keep({ requestId: admission.requestId, cut, ended, keys: keysOf(admission) })
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
    this.#unsubscribe()
    this.#open.clear()
  }

  #keep(open: Open): () => void {
    this.#open.add(open)
    this.#look(open, Date.now())
    return () => this.#open.delete(open)
  }

  #check(): void {
    const now = Date.now()
    for (const open of this.#open) this.#look(open, now)
  }

  #look(open: Open, now: number): void {
    const why = open.ended(this.#store.snapshot, now)
    if (why === undefined) return
    this.#open.delete(open)
    // Whole, with its words: who is cut off hears them.
    open.cut(reasonOf(problem('ACCESS_ENDED', open.requestId, { speaker: 'edge', detail: why })))
  }
}

function accessEnded(
  { application, identities, permit, remoteAddress, request }: AccessAdmission,
  current: ApplicationRecord | undefined,
  snapshot: Snapshot,
  now: number,
): string | undefined {
  if (current?.id !== application.id) return 'the application was removed'
  if (current.tunnelId !== application.tunnelId) return 'the application was moved to another tunnel'
  const decision = decide(
    { identities, now, address: remoteAddress, ...(request && { request }) },
    policyOf(current, snapshot),
  )
  if (!decision.allow) return 'the policy does not let you in any more'
  return JSON.stringify(decision.permit) === JSON.stringify(permit) ? undefined : 'what you may do was changed'
}

function keysOf({ identities }: Admission): readonly string[] {
  return identities.flatMap(({ revokeKeys }) => revokeKeys)
}

function connectorEnded(admission: ConnectorAdmission, snapshot: Snapshot, now: number): string | undefined {
  if (!snapshot.tunnels.has(admission.tunnelId)) return 'the tunnel was removed'
  return identityEnded(admission, snapshot, now)
}

/** Why somebody who was let in would not be now, whatever the policy; undefined: they would. */
export function identityEnded(
  { identities, version }: Pick<Admission, 'identities' | 'version'>,
  snapshot: Snapshot,
  now: number,
): string | undefined {
  for (const identity of identities) {
    const { revokeKeys, expiresAt } = identity
    const isRevoked = (key: string) => {
      const found = snapshot.revocations.get(key)
      return found !== undefined && found.version > version && !(found.at !== undefined && found.at > now)
    }
    if (revokeKeys.some(isRevoked)) return 'the credential was revoked'
    if (expiresAt !== undefined && !(expiresAt > now)) return 'the credential has expired'
    if (hasListEnded(identity, snapshot, now)) return 'the revocation list of the certificate’s CA has ended'
  }
  return undefined
}
