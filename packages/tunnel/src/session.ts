import type { Duplex } from 'node:stream'
import { type Call, PosternError } from '@postern/interface'
import { YamuxError, YamuxSession, type YamuxStream } from '@postern/yamux'
import { systemClock } from './clock.ts'
import { type About, type ControlMessage, checkAbout } from './control.ts'
import { type ControlHost, ControlStream } from './control-stream.ts'
import { readFrame } from './framing.ts'
import { encodeHeader, readAnswer, type StreamHeader } from './header.ts'
import { DEFAULT_LIMITS, MAX_IN_VAIN, MAX_MESSAGES, REST_MS, type TunnelLimits } from './limits.ts'
import { Liveness } from './liveness.ts'
import { type HostMessage, readMessage } from './messages.ts'
import { Offers } from './offers.ts'
import { heard, openError, problemOf, sessionError } from './reasons.ts'
import type { Tunnel, TunnelOptions } from './tunnel.ts'

/** The first stream that the dialler, a yamux client, opens. */
const CONTROL_ID = 1

/** What is known of a stream that is not closed yet. */
interface Entry {
  readonly stream: YamuxStream
  requestId: string
  /** What the other end said of the reset that will follow. */
  told?: PosternError
}

export class TunnelSession implements Tunnel {
  readonly closed: Promise<PosternError | undefined>

  readonly #options: TunnelOptions
  readonly #limits: TunnelLimits
  readonly #clock
  readonly #pipe: Duplex
  readonly #yamux: YamuxSession
  readonly #liveness: Liveness
  readonly #offers: Offers
  readonly #entries: Map<number, Entry> = new Map()
  readonly #hello: PromiseWithResolvers<void> = Promise.withResolvers<void>()
  #control: ControlStream | undefined
  #greeted = false
  #peerAbout: About | undefined
  #over = false
  /** Why the session ends, where this end decided it or was told. */
  #fate: PosternError | undefined
  /** The reason of the whole session is on its way: resets of its streams need not be. */
  #cutting = false
  #draining = false
  #drainTold = false
  #peerDrains = false
  #closing: Promise<void> | undefined
  #opening = 0
  /** Messages that are not handed to the pipe yet. */
  #telling = 0
  /** Streams of the peer's in a row that its budget did not admit. */
  #inVain = 0
  #resting = false
  #idle: PromiseWithResolvers<void> | undefined

  constructor(pipe: Duplex, options: TunnelOptions) {
    this.#options = options
    this.#pipe = pipe
    this.#clock = options.clock ?? systemClock
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits }
    this.#hello.promise.catch(() => {})
    if (options.about !== undefined) checkAbout(options.about)
    this.#offers = new Offers(options, this.#limits, this.#clock)
    this.#yamux = new YamuxSession(pipe, {
      role: options.role,
      onStream: this.#onStream,
      admits: this.#admits,
      onGoAway: code => code === 0 && this.#peerDraining(),
      maxStreams: this.#limits.streams + 1,
      acceptBacklog: this.#limits.streams + 1,
      maxUnacknowledged: this.#limits.opening + 1,
      window: this.#limits.window,
      cutError: this.#cutError,
      sendReset: this.#sendReset,
    })
    this.#liveness = new Liveness(pipe, this.#yamux, this.#clock, this.#onSilent)
    this.closed = this.#yamux.closed.then(({ clean, error }) => this.#onClosed(clean, error))
    if (options.role === 'client') this.#control = this.#controlOn(this.#yamux.open())
  }

  get streams(): number {
    return this.#entries.size
  }

  get peerAbout(): About | undefined {
    return this.#peerAbout
  }

  get draining(): boolean {
    return this.#draining || this.#peerDrains
  }

  /** Waits for the other end's hello. */
  async greet(signal: AbortSignal): Promise<void> {
    const { helloMs } = this.#limits
    const giveUp = (error: unknown): void => {
      this.#hello.reject(error)
      this.#yamux.destroy(error instanceof Error ? error : undefined)
    }
    const onAbort = (): void => giveUp(signal.reason)
    const cancel = this.#clock.after(helloMs, () =>
      giveUp(new PosternError('TIMED_OUT', `The other end said no hello within ${helloMs} ms`)),
    )
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort)
    try {
      await this.#hello.promise
    } finally {
      cancel()
      signal.removeEventListener('abort', onAbort)
    }
  }

  async open(header: StreamHeader, call: Call, early?: Uint8Array): Promise<Duplex> {
    call.signal.throwIfAborted()
    const frame = encodeHeader(header)
    const stream = this.#openStream(header.requestId)
    this.#opening += 1
    try {
      stream.write(early === undefined ? frame : Buffer.concat([frame, early]))
      const ms = this.#limits.answerMs
      const wait = { what: 'The answer to a stream', ms, clock: this.#clock, signal: call.signal }
      const refusal = readAnswer(await readFrame(stream, wait))
      if (refusal === undefined) return stream
      stream.destroy()
      throw heard(refusal, this.#options.hears)
    } catch (error) {
      stream.destroy(PosternError.is(error) ? error : undefined)
      throw this.#openFailure(error)
    } finally {
      this.#opening -= 1
    }
  }

  async ping(call: Call): Promise<void> {
    call.signal.throwIfAborted()
    await this.#yamux.ping(call.signal).catch((error: unknown) => {
      call.signal.throwIfAborted()
      throw this.#fate ?? sessionError(error instanceof Error ? error : undefined)
    })
  }

  async drain(call: Call): Promise<void> {
    call.signal.throwIfAborted()
    this.#draining = true
    if (!this.#drainTold && !this.#over) {
      this.#drainTold = true
      this.#yamux.goAway(0)
      this.#control?.tell({ type: 'drain' }, () => {})
    }
    if (this.#entries.size === 0) return
    this.#idle ??= Promise.withResolvers()
    const { promise, reject } = Promise.withResolvers<never>()
    const onAbort = (): void => reject(call.signal.reason)
    call.signal.addEventListener('abort', onAbort)
    await Promise.race([this.#idle.promise, promise]).finally(() => call.signal.removeEventListener('abort', onAbort))
  }

  async close(): Promise<void> {
    this.#closing ??= this.#close()
    await this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  cut(reason: PosternError): void {
    if (this.#over || this.#cutting || this.#fate !== undefined) return
    this.#fate = reason
    this.#cutting = true
    for (const { stream } of this.#entries.values()) stream.destroy(reason)
    const cancel = this.#clock.after(this.#limits.closeMs, () => this.#yamux.destroy(reason))
    void this.closed.then(cancel)
    const problem = problemOf(reason, '', this.#options.speaker)
    const leave = (): void => {
      this.#yamux.goAway(2) // for a peer that is no tunnel: what follows is no clean end
      void this.#yamux.end().then(() => this.#yamux.destroy(reason))
    }
    if (this.#control === undefined) leave()
    else this.#control.tell({ type: 'cut', problem }, leave)
  }

  tell(message: HostMessage): boolean {
    const checked = checkedMessage(message)
    if (this.#over || this.#cutting || this.#control === undefined || this.#telling >= MAX_MESSAGES) return false
    this.#telling += 1
    return this.#control.tell(checked, () => {
      this.#telling -= 1
    })
  }

  cutStream(stream: Duplex, reason: PosternError): void {
    stream.destroy(reason)
  }

  // ── streams of ours ──

  #openStream(requestId: string): YamuxStream {
    if (this.#fate !== undefined) throw this.#fate
    if (this.#over) throw new PosternError('SESSION_LOST', 'The session is over')
    if (this.draining) throw new PosternError('DRAINING', 'The session takes no new streams')
    if (this.#opening >= this.#limits.opening) {
      throw new PosternError('LIMIT_EXCEEDED', `${this.#opening} streams wait for the other end’s answer, the limit`)
    }
    try {
      const stream = this.#yamux.open()
      this.#keep(stream, requestId)
      return stream
    } catch (error) {
      throw openError(error)
    }
  }

  /** A reset without a word of a stream that was never accepted is yamux's own no: the other end never offered it to anybody. */
  #openFailure(error: unknown): unknown {
    if (!PosternError.is(error) || error.code !== 'STREAM_CUT' || !isRefusal(error.cause)) return error
    const facts = { cause: error, ...(error.requestId && { requestId: error.requestId }) }
    if (this.draining) return new PosternError('DRAINING', 'The other end takes no new streams', facts)
    return new PosternError('LIMIT_EXCEEDED', 'The other end has as many streams as it takes', facts)
  }

  #keep(stream: YamuxStream, requestId: string): Entry {
    const entry: Entry = { stream, requestId }
    this.#entries.set(stream.id, entry)
    stream.once('close', () => {
      this.#entries.delete(stream.id)
      if (this.#entries.size > 0) return
      this.#idle?.resolve()
      this.#idle = undefined
    })
    return entry
  }

  // ── streams of the peer's ──

  readonly #admits = (): boolean => {
    const { budget } = this.#options
    if (budget === undefined || this.#control === undefined || budget.admits()) {
      this.#inVain = 0
      return true
    }
    this.#inVain += 1
    this.#rest()
    if (this.#inVain === MAX_IN_VAIN)
      this.cut(new PosternError('LIMIT_EXCEEDED', 'The other end opens streams without end'))
    return false
  }

  /** Reads nothing for a moment: who floods waits, and everybody else is served meanwhile. */
  #rest(): void {
    if (this.#resting || this.#over) return
    this.#resting = true
    this.#pipe.pause()
    this.#clock.after(REST_MS, () => {
      this.#resting = false
      if (!this.#over) this.#pipe.resume()
    })
  }

  readonly #onStream = (stream: YamuxStream): void => {
    if (this.#control === undefined && stream.id === CONTROL_ID) this.#control = this.#controlOn(stream)
    else if (this.#cutting) stream.destroy()
    else if (this.#greeted) this.#offers.take(stream, this.#keep(stream, ''))
    else this.cut(new PosternError('PROTOCOL_VIOLATION', 'The other end opened a stream before its hello'))
  }

  // ── the control stream ──

  #controlOn(stream: YamuxStream): ControlStream {
    const host: ControlHost = {
      message: message => this.#onMessage(message),
      violation: error => {
        this.#hello.reject(this.#fate ?? error)
        this.cut(error)
      },
      ended: () => {
        this.#draining = true
        void this.#control?.end()
      },
    }
    return new ControlStream(stream, host, this.#options.about)
  }

  #onMessage(message: ControlMessage): void {
    if (this.#over) return
    if (message.type === 'hello') {
      this.#greeted = true
      this.#peerAbout = message.about
      this.#liveness.start()
      this.#hello.resolve()
    } else if (message.type === 'drain') this.#peerDraining()
    else if (message.type !== 'cut') this.#hostMessage(message)
    else if (message.stream === undefined) {
      this.#fate ??= heard(message.problem, this.#options.hears)
      this.#yamux.destroy(this.#fate)
    } else {
      const entry = this.#entries.get(message.stream)
      if (entry !== undefined) entry.told = heard(message.problem, this.#options.hears)
    }
  }

  #hostMessage(message: HostMessage): void {
    try {
      this.#options.onMessage?.(message)
    } catch (error) {
      this.#options.log.error('the host failed at a message', { reason: PosternError.from(error).message })
    }
  }

  #peerDraining(): void {
    if (this.#peerDrains) return
    this.#peerDrains = true
    try {
      this.#options.onDrain?.()
    } catch (error) {
      this.#options.log.error('the host failed to drain', { reason: PosternError.from(error).message })
    }
  }

  // ── ends ──

  /** The error of a stream that yamux cuts. */
  readonly #cutError = (id: number, reason: Error): Error => {
    if (!isReset(reason)) return this.#ending(reason)
    const entry = this.#entries.get(id)
    if (entry?.told !== undefined) return entry.told
    const facts = { cause: reason, ...(entry?.requestId && { requestId: entry.requestId }) }
    return new PosternError('STREAM_CUT', 'The other end cut the connection', facts)
  }

  readonly #sendReset = (id: number, error: Error | null, send: () => void): void => {
    if (id === this.#control?.id || !PosternError.is(error)) send()
    else if (!this.#cutting) {
      const problem = problemOf(error, this.#entries.get(id)?.requestId ?? '', this.#options.speaker)
      const told = this.#control?.tell({ type: 'cut', stream: id, problem }, send)
      if (told !== true) this.#options.log.debug('a stream was cut without its reason', { code: error.code })
    }
  }

  readonly #onSilent = (): void => {
    this.#fate ??= new PosternError('PEER_SILENT', 'Nothing came from the other end for 15 s')
    this.#yamux.destroy(this.#fate)
  }

  #ending(error: Error | undefined): PosternError {
    this.#fate ??= sessionError(error)
    return this.#fate
  }

  #onClosed(clean: boolean, error: Error | undefined): PosternError | undefined {
    this.#over = true
    this.#liveness.stop()
    const reason = clean && this.#fate === undefined ? undefined : this.#ending(error)
    this.#hello.reject(reason ?? new PosternError('SESSION_LOST', 'The other end closed the session before its hello'))
    this.#options.log.debug('a session ended', { code: reason?.code, reason: reason?.message })
    return reason
  }

  async #close(): Promise<void> {
    if (this.#over || this.#cutting || this.#control === undefined) {
      this.#yamux.destroy()
      await this.closed
      return
    }
    this.#draining = true
    const late = (): void => this.#yamux.destroy(new PosternError('TIMED_OUT', 'The session did not close in time'))
    const cancel = this.#clock.after(this.#limits.closeMs, late)
    const reason = new PosternError('DRAINING', 'This end closed the session')
    for (const { stream } of this.#entries.values()) stream.destroy(reason)
    this.#yamux.goAway(0)
    await this.#control.end()
    await this.#yamux.end()
    await this.closed
    cancel()
  }
}

function isReset(error: unknown): boolean {
  return (error instanceof YamuxError && error.code === 'STREAM_RESET') || isRefusal(error)
}

function isRefusal(error: unknown): boolean {
  return error instanceof YamuxError && error.code === 'STREAM_REFUSED'
}

/** As the other end will read it. */
function checkedMessage(message: HostMessage): HostMessage {
  try {
    const read = readMessage({ ...message })
    if (read !== undefined) return read
  } catch {
    // told below
  }
  throw new PosternError('BAD_USAGE', `This message cannot be told: ${String(message.type)}`)
}
