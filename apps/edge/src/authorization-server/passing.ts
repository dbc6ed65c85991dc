import type { Adapter, AdapterPayload } from 'oidc-provider'
import { errors } from 'oidc-provider'

/** Bytes of one kind, as JSON: about 16,000 sign-ins that were begun. The oldest goes first. */
const MOST_BYTES = 16 * 2 ** 20

interface Entry {
  readonly json: string
  readonly expiresAt: number
  readonly userCode?: string | undefined
  readonly grantId?: string | undefined
  /** Milliseconds since the epoch. */
  foundAt?: number
  consumed?: boolean
}

export interface PassingOptions {
  /** Milliseconds that lie between two looks for the same one by `isPolling`. */
  readonly pollInterval?: number
  readonly isPolling?: () => boolean
  readonly mostBytes?: number
  readonly now?: () => number
}

/**
 * Things that live for minutes, of one kind: in memory, so a restart forgets them, and bounded, so a flood of them forgets the
 * oldest. They are kept as text: nobody holds what another changes.
 */
export class Passing implements Adapter {
  /** In the order in which they were made. */
  readonly #entries = new Map<string, Entry>()
  readonly #userCodes = new Map<string, string>()
  readonly #options: PassingOptions
  readonly #now: () => number
  #bytes = 0

  constructor(options: PassingOptions = {}) {
    this.#options = options
    this.#now = options.now ?? (() => Date.now())
  }

  get size(): number {
    return this.#entries.size
  }

  get bytes(): number {
    return this.#bytes
  }

  async upsert(id: string, payload: AdapterPayload, expiresIn: number): Promise<void> {
    const before = this.#take(id)
    const { userCode, grantId } = payload
    const entry: Entry = { json: JSON.stringify(payload), expiresAt: this.#now() + expiresIn * 1000, userCode, grantId }
    if (before?.foundAt !== undefined) entry.foundAt = before.foundAt
    if (before?.consumed) entry.consumed = true
    this.#entries.set(id, entry)
    this.#bytes += entry.json.length
    if (userCode !== undefined) this.#userCodes.set(userCode, id)
    this.#makeRoom()
  }

  async find(id: string): Promise<AdapterPayload | undefined> {
    const entry = this.#live(id)
    if (entry === undefined) return undefined
    this.#slowDown(entry)
    const payload = JSON.parse(entry.json) as AdapterPayload
    return entry.consumed ? { ...payload, consumed: true } : payload
  }

  async findByUserCode(userCode: string): Promise<AdapterPayload | undefined> {
    return this.find(this.#userCodes.get(userCode) ?? '')
  }

  /** Nothing here is looked for by another name. */
  async findByUid(): Promise<undefined> {
    return undefined
  }

  /** Of two at the same moment the second is refused here: both may have seen it fresh. */
  async consume(id: string): Promise<void> {
    const entry = this.#live(id)
    if (entry === undefined || entry.consumed) throw new errors.InvalidGrant({ detail: 'consumed meanwhile' })
    entry.consumed = true
  }

  async destroy(id: string): Promise<void> {
    this.#take(id)
  }

  async revokeByGrantId(grantId: string): Promise<void> {
    for (const [id, entry] of this.#entries) {
      if (entry.grantId === grantId) this.#take(id)
    }
  }

  #live(id: string): Entry | undefined {
    const entry = this.#entries.get(id)
    return entry !== undefined && entry.expiresAt > this.#now() ? entry : undefined
  }

  #slowDown(entry: Entry): void {
    const { pollInterval = 0, isPolling } = this.#options
    if (isPolling?.() !== true) return
    const now = this.#now()
    const last = entry.foundAt
    entry.foundAt = now
    if (last !== undefined && now - last < pollInterval) throw new errors.SlowDown()
  }

  #makeRoom(): void {
    const now = this.#now()
    const most = this.#options.mostBytes ?? MOST_BYTES
    for (const [id, { expiresAt }] of this.#entries) {
      if (expiresAt > now && this.#bytes <= most) return
      this.#take(id)
    }
  }

  #take(id: string): Entry | undefined {
    const entry = this.#entries.get(id)
    if (entry === undefined) return undefined
    this.#entries.delete(id)
    this.#bytes -= entry.json.length
    if (entry.userCode !== undefined && this.#userCodes.get(entry.userCode) === id)
      this.#userCodes.delete(entry.userCode)
    return entry
  }
}

/** What is never kept. The provider remembers no browser: the team's session does, and each approval is asked for. */
export class Forgotten implements Adapter {
  async upsert(_id: string, _payload: AdapterPayload, _expiresIn?: number): Promise<void> {}
  async find(_id: string): Promise<AdapterPayload | undefined> {
    return undefined
  }
  async findByUserCode(_userCode: string): Promise<undefined> {}
  async findByUid(_uid: string): Promise<undefined> {}
  async consume(_id: string): Promise<void> {}
  async destroy(_id: string): Promise<void> {}
  async revokeByGrantId(_grantId: string): Promise<void> {}
}
