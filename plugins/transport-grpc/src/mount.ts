import { randomUUID } from 'node:crypto'
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2'
import {
  type Call,
  type Door,
  type Incoming,
  type Pipe,
  PosternError,
  type Problem,
  problem,
  type SentHeaders,
} from '@postern/interface'
import { EdgePipe } from './edge-pipe.ts'
import { FIRST_MESSAGE } from './messages.ts'
import { fieldsOf, isGrpc, refusalHeaders } from './refusal.ts'
import { type CallPurpose, CONTENT_TYPE, purposeOf, SERVICE } from './wire.ts'

/** Milliseconds a refused client has to read its answer and go. */
const LINGER = 2000
/** Bytes that a connection may send on all its calls before they are read; each call is bounded by its own window, as every request is. */
const CONNECTION_WINDOW = 4 * 1024 * 1024

type Accept = (incoming: Incoming) => Promise<void>

/** Claims the calls of our service at the door until the call is aborted. */
export async function mount(door: Door, accept: Accept, call: Call): Promise<void> {
  call.signal.throwIfAborted()
  const release = door.onRequest((request, response) => {
    if (!isOurs(request)) return false
    void serve(new Visit(request, response), door, accept, call)
    return true
  })
  call.signal.addEventListener('abort', release, { once: true })
}

/** gRPC to an application goes on to it, whatever it is: only this service is ours, at every hostname. */
function isOurs({ headers, url }: Http2ServerRequest): boolean {
  return isGrpc(headers['content-type']) && url.startsWith(`/${SERVICE}/`)
}

/** Never rejects: whatever goes wrong ends this call and nothing else. */
async function serve(visit: Visit, door: Door, accept: Accept, call: Call): Promise<void> {
  const { request } = visit
  try {
    const purpose = readPurpose(request)
    if (purpose instanceof PosternError)
      return await visit.reject(problem(purpose.code, randomUUID(), { speaker: 'edge', detail: purpose.message }))
    await accept({
      purpose,
      host: request.authority,
      presented: door.present(request),
      reject: (refusal, headers) => visit.reject(refusal, headers),
      accept: answer => visit.accept(answer),
    })
    if (!visit.answered) call.log.warn('nobody answered a call')
  } catch (error) {
    call.log.warn('a call failed', { error: PosternError.from(error).message })
  }
  if (!visit.answered) await visit.reject(problem('INTERNAL', randomUUID(), { speaker: 'edge' })).catch(ignore)
}

function readPurpose({ method, url, headers }: Http2ServerRequest): CallPurpose | PosternError {
  const purpose = purposeOf(url)
  if (purpose === undefined)
    return new PosternError('VERSION_UNSUPPORTED', 'this edge has no such method of its service')
  if (method !== 'POST') return new PosternError('BAD_USAGE', 'a call is a POST')
  const { 'grpc-encoding': encoding = 'identity' } = headers
  // Said before a byte of it was taken.
  if (encoding !== 'identity') return new PosternError('VERSION_UNSUPPORTED', 'compressed messages are not taken')
  return purpose
}

/** One call, answered once. */
class Visit {
  answered = false
  readonly request: Http2ServerRequest
  readonly #response: Http2ServerResponse

  constructor(request: Http2ServerRequest, response: Http2ServerResponse) {
    this.request = request
    this.#response = response
    // Until somebody answers nobody else listens, and an unheard 'error' would end the process.
    for (const one of [request, response, response.stream]) one.on('error', ignore)
  }

  reject(refusal: Problem, headers?: SentHeaders): Promise<void> {
    const fields = refusalHeaders(refusal, headers)
    this.#answer()
    const { stream } = this.#response
    return new Promise(resolve => {
      if (stream.destroyed || stream.closed) return resolve()
      const timer = setTimeout(() => stream.close(), LINGER)
      stream.once('close', () => {
        clearTimeout(timer)
        resolve()
      })
      // What the client still sends is read and thrown away.
      stream.resume()
      stream.respond({ ':status': 200, ...fields }, { endStream: true })
    })
  }

  async accept(answer: SentHeaders = {}): Promise<Pipe> {
    const fields = fieldsOf(answer)
    this.#answer()
    const { stream } = this.#response
    if (stream.destroyed || stream.closed)
      throw new PosternError('STREAM_CUT', 'the client left before it was answered')
    stream.session?.setLocalWindowSize(CONNECTION_WINDOW)
    stream.respond({ ':status': 200, ...fields, 'content-type': CONTENT_TYPE }, { waitForTrailers: true })
    // nginx keeps a head behind its TLS until there is a body.
    stream.write(FIRST_MESSAGE)
    return new EdgePipe(this.#response)
  }

  #answer(): void {
    if (this.answered) throw new PosternError('INTERNAL', 'a call can be answered once')
    this.answered = true
  }
}

function ignore(): void {}
