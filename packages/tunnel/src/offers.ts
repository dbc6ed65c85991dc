import { PosternError, problem } from '@postern/interface'
import type { YamuxStream } from '@postern/yamux'
import type { Clock } from './clock.ts'
import { readFrame } from './framing.ts'
import { readHeader, type StreamHeader } from './header.ts'
import type { TunnelLimits } from './limits.ts'
import { Offer, type OfferTerms, refuse } from './offer.ts'
import type { TunnelOptions } from './tunnel.ts'

/** The peer's streams, from their arrival until they are answered. */
export class Offers {
  readonly #options: TunnelOptions
  readonly #limits: TunnelLimits
  readonly #terms: OfferTerms
  #waiting = 0

  constructor(options: TunnelOptions, limits: TunnelLimits, clock: Clock) {
    this.#options = options
    this.#limits = limits
    const settled = (isAccepted: boolean): void => {
      this.#waiting -= 1
      if (!isAccepted) options.budget?.failed()
    }
    this.#terms = { clock, answerMs: limits.answerMs, closeMs: limits.closeMs, speaker: options.speaker, settled }
  }

  /** Takes a stream; its request id is noted once known. */
  take(stream: YamuxStream, note: { requestId: string }): void {
    if (this.#waiting >= this.#limits.offered) {
      this.#options.budget?.failed()
      stream.destroy(
        new PosternError('LIMIT_EXCEEDED', `${this.#waiting} offered streams wait for an answer, the limit`),
      )
      return
    }
    this.#waiting += 1
    stream.accept()
    const { answerMs: ms, clock } = this.#terms
    readFrame(stream, { what: 'A stream’s header', ms, clock })
      .then(readHeader)
      .then(
        header => {
          note.requestId = header.requestId
          this.#offer(stream, header)
        },
        error => this.#refuse(stream, PosternError.from(error, 'PROTOCOL_VIOLATION')),
      )
  }

  #refuse(stream: YamuxStream, error: PosternError): void {
    this.#terms.settled(false)
    if (stream.destroyed) return
    // The other end is told, and sends such headers as fast as it likes: that is nobody's log to fill.
    this.#options.log.debug('a stream was refused', { code: error.code, reason: error.message })
    const { speaker } = this.#options
    // Our own words about the header, never an internal matter.
    refuse(stream, problem(error.code, '', { ...(speaker && { speaker }), detail: error.message }), this.#terms)
  }

  #offer(stream: YamuxStream, header: StreamHeader): void {
    const { onStream, log } = this.#options
    const offer = new Offer(stream, header, this.#terms)
    try {
      if (onStream === undefined) throw new PosternError('BAD_USAGE', 'This end takes no streams')
      onStream(offer)
    } catch (cause) {
      const error = PosternError.from(cause)
      log.error('a stream could not be served', { code: error.code, reason: error.message })
      offer.fail(error)
    }
  }
}
