import type { ClientHttp2Stream, Http2Session, IncomingHttpHeaders } from 'node:http2'
import { CallPipe, CLOSE_WAIT } from './call-pipe.ts'
import { LAST_MESSAGE } from './messages.ts'
import { STATUS } from './wire.ts'

/** The client’s end: its last message, against the edge’s status OK. */
export class ClientPipe extends CallPipe<ClientHttp2Stream> {
  readonly #session: Http2Session | undefined
  #status: number | undefined

  constructor(stream: ClientHttp2Stream) {
    super(stream)
    stream.on('trailers', (trailers: IncomingHttpHeaders) => {
      const status = trailers['grpc-status']
      this.#status = typeof status === 'string' && /^\d{1,2}$/.test(status) ? Number(status) : undefined
    })
    this.#session = stream.session
    stream.once('close', () => leave(this.#session))
  }

  protected override finish(): void {
    this.stream.end(LAST_MESSAGE)
  }

  /** A stream that was reset says so before what it brought was read: then it did not all arrive. */
  protected override isOver(): boolean {
    return this.#status === STATUS.OK && this.stream.readableEnded && this.messages.isBetween
  }

  protected override cutOff(): void {
    this.stream.destroy(new Error('cut'))
    this.#session?.destroy()
  }

  protected override giveUp(): void {
    this.cutOff()
  }

  protected override why(): string {
    const status = this.#status
    if (status === undefined || status === STATUS.OK) return 'the connection was cut before its end'
    return `the edge, or a proxy before it, ended the call with gRPC status ${status}`
  }
}

/** A call has its connection for itself: it goes with it, in good order. */
function leave(session: Http2Session | undefined): void {
  if (session === undefined || session.destroyed) return
  const timer = setTimeout(() => session.destroy(), CLOSE_WAIT)
  session.once('close', () => clearTimeout(timer))
  session.close()
}
