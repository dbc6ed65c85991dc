import type { Identity, Json } from '@postern/interface'
import { IDENTITY_TYP, identityClaims } from '@postern/tokens'

/** The part of the team's keys that is used here. */
export interface IdentitySigner {
  sign(
    claims: Readonly<Record<string, Json>>,
    options: { readonly typ: string; readonly audience: string; readonly lifetimeSeconds: number },
  ): Promise<string>
}

/** An origin whose clock is a little wrong takes it still, and one that was stolen is soon worth nothing. */
const LIFETIME_SECONDS = 300
/** Milliseconds that one token goes with every request: signing costs more than the rest of a small request. */
const REUSED = 60_000
/** Tokens remembered; about 10 MB. The longest made is forgotten first. */
const MOST = 10_000

interface Made {
  readonly token: Promise<string>
  readonly until: number
}

/** Who is asking, as the origin is told: signed by the team, for one hostname. */
export class IdentityTokens {
  readonly #signer: IdentitySigner
  readonly #now: () => number
  readonly #made = new Map<string, Made>()

  constructor(signer: IdentitySigner, now: () => number = Date.now) {
    this.#signer = signer
    this.#now = now
  }

  /** Tokens remembered now. */
  get size(): number {
    return this.#made.size
  }

  /**
   * @param identities of one visitor: where there are several, a person comes before a program
   * @param hostname the application's, the token's audience
   * @returns undefined where nobody is known, as under a rule that lets everybody in
   * @throws what signing does
   */
  async of(identities: readonly Identity[], hostname: string): Promise<string | undefined> {
    const identity = identities.find(({ kind }) => kind === 'user') ?? identities[0]
    if (identity === undefined) return undefined
    const claims = identityClaims(identity)
    const key = `${hostname}\0${JSON.stringify(claims)}`
    const known = this.#made.get(key)
    if (known !== undefined && known.until > this.#now()) return known.token
    const token = this.#signer.sign(claims, {
      typ: IDENTITY_TYP,
      audience: hostname,
      lifetimeSeconds: LIFETIME_SECONDS,
    })
    this.#made.delete(key)
    this.#made.set(key, { token, until: this.#now() + REUSED })
    if (this.#made.size > MOST) this.#made.delete(this.#made.keys().next().value ?? '')
    token.catch(() => this.#made.delete(key))
    return token
  }
}
