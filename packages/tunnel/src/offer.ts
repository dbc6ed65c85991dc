import type { Duplex } from 'node:stream'
import { PosternError, type Problem, problem, type Speaker } from '@postern/interface'
import type { Clock } from './clock.ts'
import { encodeAnswer, type StreamHeader } from './header.ts'
import { problemOf } from './reasons.ts'
import type { OfferedTunnelStream } from './tunnel.ts'

export interface OfferTerms {
  readonly clock: Clock
  /** For the answer to be given. */
  readonly answerMs: number
  /** For the opener to take a refusal. */
  readonly closeMs: number
  readonly speaker: Speaker | undefined
  /** Told once: the offer is answered, or void; whether it came to anything. */
  readonly settled: (isAccepted: boolean) => void
}

/** A stream whose opener waits for an answer. */
export class Offer implements OfferedTunnelStream {
  readonly header: StreamHeader
  readonly #stream: Duplex
  readonly #terms: OfferTerms
  readonly #cancel: () => void
  readonly #gone = new AbortController()
  #state: 'open' | 'answered' | 'expired' | 'void' = 'open'

  constructor(stream: Duplex, header: StreamHeader, terms: OfferTerms) {
    this.#stream = stream
    this.header = header
    this.#terms = terms
    this.#cancel = terms.clock.after(terms.answerMs, this.#expire)
    // Its opener may have left between the header's last byte and now.
    if (stream.closed) this.#onClose()
    else stream.once('close', this.#onClose)
  }

  get gone(): AbortSignal {
    return this.#gone.signal
  }

  accept(): Duplex {
    if (this.#state === 'expired') throw new PosternError('TIMED_OUT', 'The stream was accepted after its deadline')
    if (this.#state === 'answered') throw new PosternError('INTERNAL', 'The stream is answered already')
    if (this.#state === 'open') {
      this.#settle('answered', true)
      this.#stream.write(encodeAnswer())
    }
    return this.#stream
  }

  reject(refusal: Problem): void {
    if (this.#state === 'answered') throw new PosternError('INTERNAL', 'The stream is answered already')
    if (this.#state !== 'open') return
    this.#settle('answered')
    refuse(this.#stream, refusal, this.#terms)
  }

  /** The host failed to serve it. */
  fail(error: PosternError): void {
    if (this.#state === 'open') this.reject(problemOf(error, this.header.requestId, this.#terms.speaker))
    else this.#stream.destroy(error)
  }

  readonly #expire = (): void => {
    const { speaker } = this.#terms
    this.#settle('expired')
    refuse(this.#stream, problem('TIMED_OUT', this.header.requestId, speaker && { speaker }), this.#terms)
  }

  readonly #onClose = (): void => {
    if (this.#state === 'open') this.#settle('void')
  }

  #settle(state: 'answered' | 'expired' | 'void', isAccepted = false): void {
    this.#state = state
    this.#cancel()
    this.#stream.off('close', this.#onClose)
    this.#terms.settled(isAccepted)
    if (state === 'answered') return
    const reason = state === 'void' ? 'The opener left before an answer' : 'The deadline for an answer passed'
    this.#gone.abort(new PosternError(state === 'void' ? 'STREAM_CUT' : 'TIMED_OUT', reason))
  }
}

/** Answers no. The opener then resets the stream; one that does not is reset by us, not before it had time to read the answer. */
export function refuse(
  stream: Duplex,
  refusal: Problem,
  { clock, closeMs }: Pick<OfferTerms, 'clock' | 'closeMs'>,
): void {
  if (stream.destroyed) return
  const cancel = clock.after(closeMs, () => stream.destroy())
  stream.once('close', cancel)
  stream.end(encodeAnswer(refusal))
}
