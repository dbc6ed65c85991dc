import type { Store } from '@postern/store'

/** Seconds a revocation is kept: longer than anybody takes to be let in. */
const REMEMBERED = 600
/** Of certificates, a row says for good that they are revoked. */
const ENDS_PEOPLE = /^(?:session|cookie|user|certificate):/

/** Revocations of people, which come with every sign-out: whatever was open was cut then, so they are needed no longer. */
export class EndedKeys {
  readonly #store: Store
  /** Since when a key is known to be revoked. */
  readonly #since = new Map<string, number>()

  constructor(store: Store) {
    this.#store = store
  }

  /** @throws PosternError STORE_UNUSABLE */
  async forget(now: number): Promise<void> {
    const { revocations } = this.#store.snapshot
    for (const key of this.#since.keys()) if (!revocations.has(key)) this.#since.delete(key)
    const old: string[] = []
    for (const key of revocations.keys()) {
      if (!ENDS_PEOPLE.test(key)) continue
      const since = this.#since.get(key) ?? now
      this.#since.set(key, since)
      if (since + REMEMBERED * 1000 <= now) old.push(key)
    }
    if (old.length > 0) await this.#store.keep(old.map(key => ({ delete: 'revocation', key })))
  }
}
