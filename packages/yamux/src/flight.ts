const KIB = 1024
const MIB = 1024 * KIB
/** Bytes that may always be on their way: alone, which costs one stream nothing, and while somebody waits behind them. */
const LEAST = { alone: MIB, shared: 128 * KIB }
/** Nobody's memory: what is on its way is in kernels, and bounded by the streams' windows. 1.3 GB/s at 50 ms. */
const MOST = 64 * MIB
/** A session stays shared for so long after a message of a stream that sends little, in milliseconds. */
const SHARED_FOR = 5000
/** Bytes after which there is a mark: a quarter of what may be on its way, within these. */
const STEP = { least: 32 * KIB, most: MIB }
/** The path is sounded every so many milliseconds, and for one round trip of a hundred at most. */
const SOUND_EVERY = 10_000
const SOUND_PART = 100
/** Milliseconds after which a mark is given up: a peer that answers none is no slower than one that has none. */
const PATIENCE = 10_000
/** A rate is that of so many milliseconds at least, and of a round trip: on a short path bytes arrive in bursts. */
const SAMPLE = 20

/** A ping behind what was sent: its answer says that all of it has arrived. */
interface Mark {
  readonly id: number
  readonly sent: number
  /** Milliseconds. */
  readonly at: number
}

/** Ids from here on are those of marks; the caller's pings have those before. */
export const FIRST_MARK = 0x8000_0000

/**
 * What streams that send much have on their way to the peer, in our queue and the kernel's of either end: whatever another stream writes
 * comes behind it. It is held to what the path takes, about twice the bytes that arrive in one round trip of an empty path (as BBR and
 * gRPC reckon), by pings among the data, which every implementation answers.
 */
export class Flight {
  readonly #ping: (id: number) => void
  readonly #now: () => number
  #marks: Mark[] = []
  #marked = 0
  #sent = 0
  #arrived = 0
  #nextId = FIRST_MARK
  #limit = 0
  #shared = false
  #sharedUntil = 0
  /** Milliseconds: the least round trip there was of late. */
  #roundTrip = Number.POSITIVE_INFINITY
  /** Bytes a millisecond: the best since the path was sounded, and between the two times before. */
  #rate = 0
  #rateBefore = 0
  /** Where the sample of it began that is being taken. */
  #sampled = { at: 0, arrived: 0 }
  #sounding: 'emptying' | 'asking' | undefined
  #soundAt = 0

  constructor(ping: (id: number) => void, now: () => number = () => performance.now()) {
    this.#ping = ping
    this.#now = now
  }

  /** Bytes that may be on their way. */
  get limit(): number {
    return Math.max(this.#limit, this.#shared ? LEAST.shared : LEAST.alone)
  }

  /** Something is on its way, as far as is known. */
  get isBusy(): boolean {
    return this.#marks.length > 0
  }

  /** No more may go now. There is an answer to come then. */
  get isFull(): boolean {
    // The first goes before all: nothing tells better how long the path is.
    if (this.#soundAt === 0) this.#mark()
    if (this.#sounding === undefined && this.#sent - this.#arrived < this.limit) return false
    if (this.#marks.length === 0) this.#mark()
    return true
  }

  /** Bytes were handed over. */
  sends(bytes: number): void {
    this.#sent += bytes
    const step = Math.min(STEP.most, Math.max(STEP.least, this.limit / 4))
    if (this.#sent - this.#marked >= step) this.#mark()
  }

  /** Somebody who sends little has something to send beside them. */
  share(): void {
    this.#shared = true
    this.#sharedUntil = this.#now() + SHARED_FOR
  }

  /** The answer to a mark; all before it are answered with it. */
  answered(id: number): void {
    const index = this.#marks.findIndex(mark => mark.id === id)
    const mark = this.#marks[index]
    if (mark === undefined) return
    const now = this.#now()
    this.#marks.splice(0, index + 1)
    this.#arrived = mark.sent
    if (now > this.#sharedUntil) this.#shared = false
    this.#measure(now, Math.max(now - mark.at, 0.001))
    this.#sound(now)
  }

  /** Marks that nobody has answered for long are given up, with what was sent before them. */
  giveUp(): void {
    if (this.#marks[0] === undefined || this.#now() - this.#marks[0].at < PATIENCE) return
    this.#marks = []
    this.#arrived = this.#sent
    this.#sounding = undefined
  }

  #mark(): void {
    const id = this.#nextId
    this.#nextId = id === 0xffff_ffff ? FIRST_MARK : id + 1
    this.#marked = this.#sent
    const at = this.#now()
    if (this.#soundAt === 0) {
      this.#soundAt = at + SOUND_EVERY
      this.#sampled.at = at
    }
    this.#marks.push({ id, sent: this.#sent, at })
    this.#ping(id)
  }

  #measure(now: number, ms: number): void {
    this.#roundTrip = this.#sounding === 'asking' ? ms : Math.min(this.#roundTrip, ms)
    const took = now - this.#sampled.at
    if (took >= Math.max(SAMPLE, ms)) {
      this.#rate = Math.max(this.#rate, (this.#arrived - this.#sampled.arrived) / took)
      this.#sampled = { at: now, arrived: this.#arrived }
    }
    this.#limit = Math.min(MOST, 2 * Math.max(this.#rate, this.#rateBefore) * this.#roundTrip)
  }

  /** A path that is never empty shows its queue for its length: now and then nothing is sent until it is. */
  #sound(now: number): void {
    if (this.#sounding === 'asking') {
      this.#sounding = undefined
      this.#soundAt = now + Math.max(SOUND_EVERY, SOUND_PART * this.#roundTrip)
      this.#rateBefore = this.#rate
      this.#rate = 0
    } else if (this.#sounding === undefined && now >= this.#soundAt) this.#sounding = 'emptying'
    if (this.#sounding !== 'emptying' || this.#marks.length > 0) return
    // What has no mark behind it yet gets one first.
    if (this.#arrived === this.#sent) this.#sounding = 'asking'
    this.#mark()
  }
}
