import type { Http2ServerResponse, ServerHttp2Stream } from 'node:http2'
import { percentEncoded } from '@postern/interface/grpc'
import { CallPipe } from './call-pipe.ts'
import type { Violation } from './messages.ts'
import { STATUS } from './wire.ts'

/** The edge’s end: its status OK, against the client’s last message. */
export class EdgePipe extends CallPipe<ServerHttp2Stream> {
  readonly #response: Http2ServerResponse
  #isStatusOut = false

  constructor(response: Http2ServerResponse) {
    super(response.stream)
    this.#response = response
    this.stream.on('data', () => {
      if (this.messages.ended) this.peerEnd()
    })
    // node:http’s response for HTTP/2 answers this one, before us.
    this.stream.once('wantTrailers', () => {
      this.#isStatusOut = true
    })
  }

  protected override finish(): void {
    this.#end(STATUS.OK)
  }

  /** The status ends a call: how the client lets go of it says nothing any more. */
  protected override isOver(): boolean {
    return this.#isStatusOut || this.messages.ended
  }

  /** Bytes that are no message of ours are answered with what is wrong with them; everything else is a reset. */
  protected override cutOff(violation: Violation | undefined): void {
    if (violation === undefined || !this.stream.writable) return void this.stream.destroy(new Error('cut'))
    this.#end(violation.status, violation.message)
    this.stream.once('wantTrailers', () => setImmediate(() => this.stream.close()))
  }

  protected override giveUp(): void {
    // What was never taken was no clean end: closed, it would look like one.
    if (this.#isStatusOut) this.stream.close()
    else this.stream.destroy(new Error('cut'))
  }

  protected override why(): string {
    return 'the client left before its end'
  }

  #end(status: number, message?: string): void {
    if (this.stream.destroyed) return
    this.#response.addTrailers({
      'grpc-status': String(status),
      ...(message && { 'grpc-message': percentEncoded(message) }),
    })
    this.#response.end()
  }
}
