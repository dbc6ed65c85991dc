import { PosternError } from '@postern/interface'
import { readJwks, type VerificationKey } from '@postern/tokens'

type Keys = ReadonlyMap<string, VerificationKey>

/** As the fetch API’s own, for programs that reach the team domain in a way of theirs. */
export type Fetch = (url: URL, init: RequestInit & { signal: AbortSignal }) => Promise<Response>

/** A key that was removed is refused after this at the latest, while the team domain answers. */
const FRESH_MS = 5 * 60_000
/** How long a set is used when the team domain does not answer. Longer than an outage, shorter than a stolen key should live. */
const KEEP_MS = 24 * 3_600_000
/** At most one question in this time, whatever tokens come. */
const COOLDOWN_MS = 30_000
/** The same, as long as there is no set at all: an origin that starts before its edge need not wait half a minute. */
const FIRST_COOLDOWN_MS = 5_000
const DEADLINE_MS = 5_000
const MOST_BYTES = 256 * 1024

/**
 * The keys that a team domain publishes, fetched when they are needed and kept. Tokens decide when it is asked, but not how
 * often; the last good set stays while the endpoint fails.
 */
export class RemoteKeys {
  readonly #url: URL
  readonly #onProblem: (problem: PosternError) => void
  readonly #fetch: Fetch
  #keys: Keys | undefined
  /** Monotonic, ms: when the set came, and when one was last asked for. */
  #since = 0
  #tried = Number.NEGATIVE_INFINITY
  #problem: PosternError | undefined
  #asking: Promise<void> | undefined

  constructor(url: URL, onProblem: (problem: PosternError) => void, fetchFrom: Fetch = fetch) {
    this.#url = url
    this.#onProblem = onProblem
    this.#fetch = fetchFrom
  }

  /** @throws EDGE_UNREACHABLE when there is no set, or none of the last 24 hours */
  async find(kid: string): Promise<VerificationKey | undefined> {
    await this.#freshen()
    const known = this.#current().get(kid)
    if (known) return known
    await this.#ask()
    return this.#current().get(kid)
  }

  /** Nobody waits for an endpoint that failed last time, unless there is nothing to go on with. */
  async #freshen(): Promise<void> {
    const age = performance.now() - this.#since
    if (this.#keys && age < FRESH_MS) return
    const asked = this.#ask()
    if (!this.#keys || age >= KEEP_MS || !this.#problem) await asked
  }

  #current(): Keys {
    if (this.#keys && performance.now() - this.#since < KEEP_MS) return this.#keys
    throw new PosternError('EDGE_UNREACHABLE', 'there are no keys to verify identities with', {
      cause: this.#problem,
      next: 'Check that this machine reaches the team domain; it is asked again by itself.',
    })
  }

  /** One question at a time, shared by all who wait, and none within the cooldown. Never throws. */
  #ask(): Promise<void> {
    const cooldown = this.#keys ? COOLDOWN_MS : FIRST_COOLDOWN_MS
    if (!this.#asking && performance.now() - this.#tried < cooldown) return Promise.resolve()
    this.#asking ??= this.#refresh().finally(() => {
      this.#asking = undefined
    })
    return this.#asking
  }

  async #refresh(): Promise<void> {
    this.#tried = performance.now()
    try {
      this.#keys = readJwks(await fetchJson(this.#url, this.#fetch))
      this.#since = performance.now()
      this.#problem = undefined
    } catch (error) {
      const problem = new PosternError('EDGE_UNREACHABLE', `no keys came from ${this.#url.origin}`, { cause: error })
      this.#problem = problem
      this.#tell(problem)
    }
  }

  #tell(problem: PosternError) {
    try {
      this.#onProblem(problem)
    } catch {
      // A listener’s own mistake: who comes with a good token is let in all the same.
    }
  }
}

/** Bounded in time, size and place: no redirect is followed. */
async function fetchJson(url: URL, fetchFrom: Fetch): Promise<unknown> {
  const response = await fetchFrom(url, {
    redirect: 'error',
    credentials: 'omit',
    headers: { accept: 'application/jwk-set+json, application/json', 'accept-encoding': 'identity' },
    signal: AbortSignal.timeout(DEADLINE_MS),
  })
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength
    if (size > MOST_BYTES) throw new Error(`the key set is larger than ${MOST_BYTES} bytes`)
    chunks.push(chunk)
  }
  if (response.status !== 200) throw new Error(`the answer had the status ${response.status}`)
  return JSON.parse(Buffer.concat(chunks).toString())
}
