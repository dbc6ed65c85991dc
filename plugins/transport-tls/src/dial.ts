import type { Duplex } from 'node:stream'
import { type Call, type Dialled, type DialRequest, PosternError } from '@postern/interface'
import { type Asked, ask } from './ask.ts'
import { END_TO_END, JOIN_HEADER, MODE_HEADER, PREFACE, TICKET, TICKET_HEADER, UNWANTED, WELCOME } from './wire.ts'

/** Milliseconds the edge has to say that a daemon is welcome: something between may swallow what is not TLS. */
const WELCOME_TIME = 2000

/**
 * Connects through the host's own TCP and TLS. A daemon that comes for a client (`join` with a ticket) needs no more than TCP; everybody
 * else asks for an upgrade inside TLS. A client that is to be joined end-to-end connects once more, as the edge's answer tells it to.
 *
 * @throws PosternError BAD_USAGE for the purpose `raw`; EDGE_UNREACHABLE when the connection is cut before any answer; TIMED_OUT
 */
export async function dial(request: DialRequest, call: Call): Promise<Dialled> {
  call.signal.throwIfAborted()
  const ticket = request.headers[JOIN_HEADER]
  if (request.purpose === 'join' && ticket !== undefined) return comeFor(String(ticket), request, call)
  if (request.purpose !== 'join') return pipeOfAsked(await ask(request, call))
  using ahead = new Ahead(request, call)
  const asked = await ask(request, call, () => ahead.begin())
  return asked.answer[MODE_HEADER]?.[0] === END_TO_END ? await around(asked, ahead) : pipeOfAsked(asked)
}

function pipeOfAsked({ connection, answer }: Asked): Dialled {
  return { pipe: connection, answer }
}

/**
 * A bare TCP connection for a daemon, to the client who waits with this ticket. It is for TLS to be put on, which ends it as TLS ends:
 * so it is left as the host made it, here and for the client.
 */
async function comeFor(ticket: string, request: DialRequest, call: Call): Promise<Dialled> {
  if (!TICKET.test(ticket)) throw new PosternError('BAD_USAGE', 'a join’s ticket is 26 characters of base32')
  const connection = await tcp(request, call)
  try {
    connection.write(`${PREFACE}${ticket}\n`, 'latin1')
    await welcomed(connection, call.signal)
    return { pipe: connection, answer: {} }
  } catch (error) {
    connection.on('error', ignore).destroy()
    throw error
  }
}

/** Reads the edge's word and not a byte more. @throws PosternError CONFLICT: its no; EDGE_PROTOCOL, TIMED_OUT; `signal.reason` */
function welcomed(connection: Duplex, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const timer = setTimeout(
    () => reject(new PosternError('TIMED_OUT', `the edge did not answer a daemon that came for a client`)),
    WELCOME_TIME,
  )
  const read = () => {
    const said = connection.read(WELCOME.length) as Buffer | null
    if (said === null) return
    const word = said.toString('latin1')
    if (word === WELCOME) resolve()
    else if (word === UNWANTED)
      reject(new PosternError('CONFLICT', 'no client waits with this ticket any more', { speaker: 'edge' }))
    else reject(new PosternError('EDGE_PROTOCOL', 'what answered a daemon that came for a client is not an edge'))
  }
  const gone = () =>
    reject(new PosternError('EDGE_PROTOCOL', 'the connection ended before the edge welcomed the daemon on it'))
  const aborted = () => reject(signal.reason)
  connection.on('readable', read).on('end', gone).on('error', gone).on('close', gone)
  signal.addEventListener('abort', aborted)
  return promise.finally(() => {
    clearTimeout(timer)
    signal.removeEventListener('abort', aborted)
    connection.off('readable', read).off('end', gone).off('error', gone).off('close', gone)
  })
}

/** The client's own connection, for the TLS that the daemon is the other end of. What asked for it ends with it, or before. */
async function around({ connection: asking, answer }: Asked, ahead: Ahead): Promise<Dialled> {
  asking.on('error', ignore)
  try {
    const serverName = serverNameIn(answer[TICKET_HEADER])
    const pipe = await ahead.take()
    pipe.once('close', () => asking.destroy())
    // The edge ends it once it has the other one, and says nothing more on it.
    asking.once('end', () => asking.end()).resume()
    return { pipe, answer, serverName }
  } catch (error) {
    asking.destroy()
    throw error
  }
}

/**
 * The connection that a client will need if it is to be joined end-to-end: made while the edge decides, since it costs a round trip. Nothing
 * is said on it before that. Where it is not wanted it is dropped, and where the edge or somebody else did that already, made anew.
 */
class Ahead implements Disposable {
  readonly #request: DialRequest
  readonly #call: Call
  readonly #unwanted = new AbortController()
  #made: Promise<Duplex> | undefined

  constructor(request: DialRequest, call: Call) {
    this.#request = request
    this.#call = call
  }

  begin(): void {
    const signal = AbortSignal.any([this.#call.signal, this.#unwanted.signal])
    this.#made = tcp(this.#request, { log: this.#call.log, signal })
    // Where it fails, the one that is made for good says why.
    this.#made.then(connection => connection.on('error', ignore), ignore)
  }

  async take(): Promise<Duplex> {
    const made = await this.#made?.catch(ignore)
    this.#made = undefined
    this.#call.signal.throwIfAborted()
    if (made && !made.destroyed && !made.readableEnded) return made
    made?.destroy()
    return tcp(this.#request, this.#call)
  }

  [Symbol.dispose](): void {
    this.#made?.then(connection => connection.destroy(), ignore)
    this.#unwanted.abort(new PosternError('STREAM_CUT', 'the edge wants no second connection'))
  }
}

function serverNameIn(values: readonly string[] | undefined): string {
  const [name = '', ...more] = values ?? []
  if (more.length === 0 && TICKET.test(name.slice(0, 26)) && /^\.[a-z0-9_.-]{1,226}$/.test(name.slice(26))) return name
  throw new PosternError('EDGE_PROTOCOL', 'the edge said end-to-end, and not where: it sent no ticket')
}

async function tcp(request: DialRequest, call: Call): Promise<Duplex> {
  const connection = await request.connect(undefined, call)
  if (!call.signal.aborted) {
    connection.allowHalfOpen = true
    return connection
  }
  connection.on('error', ignore).destroy()
  throw call.signal.reason
}

function ignore(): void {}
