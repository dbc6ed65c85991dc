import type { Duplex } from 'node:stream'
import type { YamuxSession } from '@postern/yamux'
import type { Clock } from './clock.ts'

const TICK_MS = 1_000
/** Quiet ticks after which the peer is asked for a sign of life, and again every so many. */
const PING_TICKS = 5
/** Quiet ticks after which it is dead: the last byte came at most 15 s ago, since it may have come right after a tick. */
const DEAD_TICKS = 14
/** A tick this late means that this machine slept or was blocked: the peer had no chance to be heard. */
const LATE_MS = 3_000

/**
 * Finds a peer from which nothing comes, neither bytes nor the answer to a ping: asks every 5 s, gives up within 15 s of the last byte.
 * Quiet time is counted in ticks of our own timer, so a machine that slept does not blame its peer: it asks afresh first.
 */
export class Liveness {
  readonly #pipe: Duplex
  readonly #session: YamuxSession
  readonly #clock: Clock
  readonly #onSilent: () => void
  readonly #pings = new AbortController()
  #heard = false
  #quiet = 0
  #last = 0
  #cancel: (() => void) | undefined

  constructor(pipe: Duplex, session: YamuxSession, clock: Clock, onSilent: () => void) {
    this.#pipe = pipe
    this.#session = session
    this.#clock = clock
    this.#onSilent = onSilent
  }

  start(): void {
    this.#last = this.#clock.now()
    this.#pipe.on('data', this.#onBytes).on('progress', this.#onBytes)
    this.#cancel = this.#clock.every(TICK_MS, this.#tick)
  }

  stop(): void {
    this.#cancel?.()
    this.#pipe.off('data', this.#onBytes).off('progress', this.#onBytes)
    this.#pings.abort()
  }

  readonly #onBytes = (): void => {
    this.#heard = true
  }

  readonly #tick = (): void => {
    const now = this.#clock.now()
    const late = now - this.#last > LATE_MS
    this.#last = now
    this.#quiet = this.#heard || late ? 0 : this.#quiet + 1
    this.#heard = false
    if (this.#quiet >= DEAD_TICKS) this.#onSilent()
    else if (late || (this.#quiet > 0 && this.#quiet % PING_TICKS === 0)) this.#ping()
  }

  #ping(): void {
    // Its answer is a byte like any other; a session that ended meanwhile has told so itself.
    this.#session.ping(this.#pings.signal).catch(() => {})
  }
}
