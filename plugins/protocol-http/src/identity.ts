import { type Call, type OriginHost, PosternError } from '@postern/interface'
import { createVerifier, type Verifier } from '@postern/verify'
import { failure } from './failures.ts'

/** Hostnames of which the keys are kept. A wildcard rule has as many as somebody thinks of. */
const MOST_VERIFIERS = 1000

/** Verifies `postern-identity` for rules that require it, against the team domain of the daemon’s own edge. */
export class Identities {
  readonly #host: OriginHost
  readonly #verifiers = new Map<string, Verifier>()

  constructor(host: OriginHost) {
    this.#host = host
  }

  /** @throws PosternError ACCESS_DENIED: there is none, or a bad one; EDGE_UNREACHABLE: nothing to verify it with */
  async require(hostname: string, token: string | undefined, { log }: Call): Promise<void> {
    try {
      await this.#verifierFor(hostname, log).verify(token)
    } catch (thrown) {
      const error = PosternError.from(thrown)
      if (error.code === 'EDGE_UNREACHABLE') throw error
      throw failure('ACCESS_DENIED', `the request’s identity is not accepted (${error.message})`, error)
    }
  }

  #verifierFor(hostname: string, log: Call['log']): Verifier {
    const known = this.#verifiers.get(hostname)
    if (known) return known
    const verifier = createVerifier({
      teamDomain: this.#host.team,
      audience: hostname,
      fetch: (url, init) => this.#host.fetch(url, init),
      onProblem: ({ message, cause }) =>
        log.warn('no keys to verify identities with', { hostname, reason: message, cause: String(cause) }),
    })
    const [oldest] = this.#verifiers.keys()
    if (this.#verifiers.size >= MOST_VERIFIERS && oldest !== undefined) this.#verifiers.delete(oldest)
    this.#verifiers.set(hostname, verifier)
    return verifier
  }
}
