import { X509Certificate } from 'node:crypto'
import type { Logger } from '@postern/interface'
import type { Bookkeeping, Snapshot, Store } from '@postern/store'
import { Expiry } from '../front/expiry.ts'
import { authoritiesIn } from './authorities.ts'
import {
  certificateRows,
  deleteRow,
  type IssuedRecord,
  issuedRowIn,
  type RevokedRecord,
  revocationListOf,
  revokedRowIn,
} from './records.ts'

/** Milliseconds between looks. */
const EVERY = 3_600_000
/** Milliseconds that a certificate is known after it ended: its holder may look for it. */
const KEPT = 7 * 86_400_000
/** Milliseconds before a revocation list ends in which that is said. */
const SOON = 86_400_000

/** Forgets certificates that have ended, and says where a CA, or its revocation list, is about to. */
export class CertificateSweep implements Disposable {
  readonly #store: Store
  readonly #log: Logger
  readonly #timer: NodeJS.Timeout
  /** By fingerprint. */
  readonly #expiries = new Map<string, Expiry>()

  constructor(store: Store, log: Logger) {
    this.#store = store
    this.#log = log
    this.#timer = setInterval(() => void this.#sweepQuietly(), EVERY).unref()
    this.#sayWhatEnds(Date.now())
  }

  /** @throws PosternError STORE_UNUSABLE */
  async sweep(now: number = Date.now()): Promise<void> {
    this.#sayWhatEnds(now)
    const over = overIn(this.#store.snapshot, now)
    if (over.length > 0) await this.#store.keep(over)
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }

  #expiryOf(fingerprint: string, name: string): Expiry {
    const known = this.#expiries.get(fingerprint) ?? new Expiry(`the CA ${name}`, this.#log)
    this.#expiries.set(fingerprint, known)
    return known
  }

  async #sweepQuietly(): Promise<void> {
    await this.sweep().catch(error => this.#log.error('certificates cannot be swept', { error: String(error) }))
  }

  #sayWhatEnds(now: number): void {
    const { snapshot } = this.#store
    for (const { id, name, certificates, fingerprints } of authoritiesIn(snapshot).list()) {
      for (const [at, pem] of certificates.entries())
        this.#expiryOf(fingerprints[at] ?? '', name).look(new X509Certificate(pem))
      const { nextUpdate } = revocationListOf(certificateRows(snapshot), id) ?? {}
      if (nextUpdate === undefined || nextUpdate > now + SOON) continue
      const at = { ca: name, nextUpdate: new Date(nextUpdate).toISOString() }
      if (nextUpdate > now) this.#log.warn('the revocation list of a CA ends soon; give the edge the next one', at)
      else this.#log.error('the revocation list of a CA has ended, so nobody is let in by its certificates', at)
    }
  }
}

function overIn(snapshot: Snapshot, now: number): readonly Bookkeeping[] {
  const isOver = (row: string, value: unknown) => {
    if (issuedRowIn(row) !== undefined) return (value as IssuedRecord).notAfter + KEPT <= now
    const { notAfter } = value as RevokedRecord
    return revokedRowIn(row) !== undefined && notAfter !== undefined && notAfter + KEPT <= now
  }
  return [...certificateRows(snapshot)].flatMap(([row, value]) => (isOver(row, value) ? [deleteRow(row)] : []))
}
