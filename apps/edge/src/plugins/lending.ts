import type { EdgeHost, Json } from '@postern/interface'
import { type Fetched, type Fetching, type Settled, tell } from './wire.ts'

/** Questions of one thread that are answered at the same time. */
const MOST_ASKED = 256
const LONGEST_ID = 1024
/** Characters of a row as JSON. */
const LARGEST_ROW = 65_536

type Service = (host: EdgeHost, args: readonly unknown[], signal: AbortSignal) => Promise<unknown>

/** What a thread may ask for, and how. What it sends is looked at: it may be anything. */
const SERVICES: Readonly<Record<string, Service>> = {
  'records.get': ({ records }, [id]) => records.get(text(id)),
  'records.list': async ({ records }, [prefix]) => new Map(await records.list(text(prefix))),
  'records.put': ({ records }, [id, value]) => records.put(text(id), row(value)),
  'records.delete': ({ records }, [id]) => records.delete(text(id)),
  'keys.jwks': ({ keys }) => keys.jwks(),
  'keys.issuer': ({ keys }) => keys.issuer(),
  'attempts.allow': ({ attempts }, [key]) => attempts.allow(text(key)),
  'attempts.failed': ({ attempts }, [key]) => attempts.failed(text(key)),
  fetch: ({ fetch }, [asked], signal) => fetchFor(fetch, asked as Fetching, signal),
}

/** Answers what one thread asks of the edge. */
export class Lending implements Disposable {
  readonly #host: EdgeHost
  readonly #reply: (id: number, settled: Settled) => void
  readonly #asked = new Map<number, AbortController>()

  constructor(host: EdgeHost, reply: (id: number, settled: Settled) => void) {
    this.#host = host
    this.#reply = reply
  }

  async answer(id: number, service: string, args: readonly unknown[]): Promise<void> {
    if (this.#asked.has(id) || this.#asked.size >= MOST_ASKED)
      return this.#reply(id, { error: { message: `more than ${MOST_ASKED} questions at once, or one twice` } })
    const abort = new AbortController()
    this.#asked.set(id, abort)
    try {
      const serve = Object.hasOwn(SERVICES, service) ? SERVICES[service] : undefined
      if (serve === undefined) throw new Error(`there is no ${service}`)
      this.#reply(id, { value: await serve(this.#host, args, abort.signal) })
    } catch (error) {
      if (!abort.signal.aborted) this.#reply(id, { error: tell(error) })
    } finally {
      this.#asked.delete(id)
    }
  }

  drop(id: number): void {
    this.#asked.get(id)?.abort(new Error('nobody waits for the answer any more'))
  }

  [Symbol.dispose](): void {
    for (const id of this.#asked.keys()) this.drop(id)
  }
}

async function fetchFor(fetch: EdgeHost['fetch'], asked: Fetching, signal: AbortSignal): Promise<Fetched> {
  const { url, method, redirect, body } = asked
  const headers = asked.headers.map(([name, value]): [string, string] => [name, value])
  const sent = body instanceof Uint8Array && { body: new Uint8Array(body) }
  const answer = await fetch(new URL(url), { method, redirect, headers, signal, ...sent })
  return { status: answer.status, headers: [...answer.headers], body: new Uint8Array(await answer.arrayBuffer()) }
}

function text(value: unknown): string {
  if (typeof value === 'string' && value.length <= LONGEST_ID) return value
  throw new Error(`a text of at most ${LONGEST_ID} characters is wanted`)
}

/** It crosses as text: a value may be small to send and without end to write. */
function row(written: unknown): Json {
  if (typeof written === 'string' && written.length <= LARGEST_ROW) return JSON.parse(written) as Json
  throw new Error(`a row is JSON of at most ${LARGEST_ROW} characters`)
}
