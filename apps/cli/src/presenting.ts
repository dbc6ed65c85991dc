import { askEach } from '@postern/client/credentials'
import type { AuthRequest, Call, Credential, ReceivedHeaders } from '@postern/interface'
import type { Credentials } from './credential.ts'

/** Milliseconds. One with less left is not sent any more. */
const MARGIN = 15_000

/** The credentials of one application, held for many requests, and got once for all that wait. */
export class Presenting {
  readonly #credentials: Credentials
  readonly #call: Call
  #held: readonly Credential[] | undefined
  #asking: Promise<readonly Credential[]> | undefined

  constructor(credentials: Credentials, call: Call) {
    this.#credentials = credentials
    this.#call = call
  }

  async get(): Promise<readonly Credential[]> {
    if (this.#held?.every(({ expiresAt = Infinity }) => expiresAt > Date.now() + MARGIN)) return this.#held
    return this.#ask(undefined)
  }

  /** Others, since the edge turned these down. @throws PosternError what a provider throws that has none */
  async instead(refused: readonly Credential[], headers: ReceivedHeaders): Promise<readonly Credential[]> {
    return this.#held && this.#held !== refused ? this.#held : this.#ask({ refused, headers })
  }

  #ask(turned: Turned | undefined): Promise<readonly Credential[]> {
    this.#asking ??= this.#fetch(turned).finally(() => {
      this.#asking = undefined
    })
    return this.#asking
  }

  async #fetch(turned: Turned | undefined): Promise<readonly Credential[]> {
    const { providers, purpose } = this.#credentials
    const requestFor = (at: number): AuthRequest => {
      const credential = turned?.refused[at]
      const refused = credential && { status: 401, headers: turned.headers, credential }
      return { ...purpose, ...(refused && { refused }) }
    }
    this.#held = await askEach(providers, requestFor, this.#call)
    return this.#held
  }
}

/** What the edge did not take, and the headers it said so with. */
interface Turned {
  readonly refused: readonly Credential[]
  readonly headers: ReceivedHeaders
}
