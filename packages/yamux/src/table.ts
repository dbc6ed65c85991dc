import { YamuxError } from './errors.ts'
import { INITIAL_WINDOW, MAX_UINT32, RST, WINDOW_UPDATE } from './frame.ts'
import type { Growth } from './growth.ts'
import { PeerIds } from './ids.ts'
import { type LinkOwner, StreamLink } from './link.ts'
import type { Hooks, Limits } from './options.ts'
import { YamuxStream } from './stream.ts'
import type { PipeWriter } from './writer.ts'

/** The streams of a session, by id, and how many of them there may be. */
export class StreamTable implements LinkOwner {
  readonly #limits: Limits
  readonly #writer: PipeWriter
  readonly #growth: Growth
  readonly #hooks: Hooks
  readonly #links: Map<number, StreamLink> = new Map()
  readonly #peerIds: PeerIds
  readonly #parity: number
  #nextId: number
  #held = 0
  #unaccepted = 0
  #unacknowledged = 0

  constructor(role: 'client' | 'server', limits: Limits, writer: PipeWriter, growth: Growth, hooks: Hooks) {
    this.#limits = limits
    this.#writer = writer
    this.#growth = growth
    this.#hooks = hooks
    this.#parity = role === 'client' ? 1 : 0
    this.#nextId = role === 'client' ? 1 : 2
    this.#peerIds = new PeerIds(role === 'client' ? 2 : 1)
  }

  /** Streams on the wire: at least one side has not finished. */
  get live(): number {
    return this.#links.size
  }

  /** Streams not yet closed in Node's sense: also those finished but not read to their end. */
  get held(): number {
    return this.#held
  }

  get(id: number): StreamLink | undefined {
    return this.#links.get(id)
  }

  /** True if the id is one that our side gives out. */
  isOurs(id: number): boolean {
    return (id & 1) === this.#parity
  }

  /** True if a stream of that id exists or existed. */
  used(id: number): boolean {
    if (id === 0) return false
    return this.isOurs(id) ? id < this.#nextId : this.#peerIds.used(id)
  }

  open(): YamuxStream {
    const { maxStreams, maxUnacknowledged } = this.#limits
    if (this.#held >= maxStreams)
      throw new YamuxError('TOO_MANY_STREAMS', `The session has ${maxStreams} streams, its limit`)
    if (this.#unacknowledged >= maxUnacknowledged) {
      throw new YamuxError(
        'TOO_MANY_UNACKNOWLEDGED',
        `The peer has not accepted ${maxUnacknowledged} streams yet, the limit`,
      )
    }
    if (this.#writer.crowded)
      throw new YamuxError('PIPE_FULL', 'The peer reads too slowly to open a stream now; try again later')
    if (this.#nextId > MAX_UINT32) throw new YamuxError('IDS_EXHAUSTED', 'All stream ids are used; open a new session')
    const stream = this.#add(this.#nextId, true)
    this.#nextId += 2
    this.#unacknowledged += 1
    this.#links.get(stream.id)!.open()
    return stream
  }

  /** Takes a stream the peer opened, or resets it if there are too many. The id must be unused. */
  admit(id: number): YamuxStream | undefined {
    const isFull = this.#held >= this.#limits.maxStreams || this.#unaccepted >= this.#limits.acceptBacklog
    if (isFull || !this.#hooks.admits()) return this.refuse(id)
    this.#peerIds.use(id)
    this.#unaccepted += 1
    return this.#add(id, false)
  }

  /** Answers the peer's SYN by RST. */
  refuse(id: number): undefined {
    this.#peerIds.use(id)
    this.#writer.control(WINDOW_UPDATE, RST, id, 0)
  }

  /** The peer's RST. */
  reset(link: StreamLink): void {
    const reason =
      link.ours && !link.acknowledged
        ? new YamuxError('STREAM_REFUSED', `The peer did not accept stream ${link.id}`)
        : new YamuxError('STREAM_RESET', `The peer reset stream ${link.id}`)
    link.cut(this.#hooks.cutError(link.id, reason))
  }

  acknowledge(link: StreamLink): void {
    if (link.acknowledged) return
    link.acknowledged = true
    this.#unacknowledged -= 1
  }

  cutAll(error: Error, atOnce: boolean): void {
    for (const link of this.#links.values()) link.cut(this.#hooks.cutError(link.id, error), atOnce)
  }

  /** Cuts every stream with RST. */
  resetAll(error: Error): void {
    for (const link of this.#links.values()) link.stream.destroy(error)
  }

  accepted(): void {
    this.#unaccepted -= 1
  }

  released(link: StreamLink): void {
    this.#links.delete(link.id)
    if (link.ours) this.acknowledge(link)
    else if (!link.announced) this.#unaccepted -= 1
  }

  resetting(link: StreamLink, error: Error | null, send: () => void): void {
    this.#hooks.sendReset(link.id, error, send)
  }

  destroyed(): void {
    this.#held -= 1
  }

  #add(id: number, ours: boolean): YamuxStream {
    const { wideStreams, window, maxFrame } = this.#limits
    const limits = { window: this.#held < wideStreams ? window : INITIAL_WINDOW, maxFrame }
    const link = new StreamLink(id, ours, limits, this.#writer, this.#growth, this)
    this.#links.set(id, link)
    this.#held += 1
    return new YamuxStream(link)
  }
}
