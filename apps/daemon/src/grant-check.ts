import { PosternError } from '@postern/interface'
import { type Grant, readGrant, rememberUntil } from '@postern/tokens'
import type { JoinIdentity } from './joins.ts'

/** Grants that are remembered until nobody takes them any more, two minutes at most. */
const MOST = 16_384

/** In which pipe a grant came: whoever is at its other end proved a key, and the edge joined it for one admission. */
export interface GrantedPipe {
  /** Fingerprint of the key. */
  readonly client: string
  readonly requestId: string
}

/** Takes grants: of the edge's, for this very daemon, from whom they are for, each once. */
export class GrantCheck {
  readonly #identity: Pick<JoinIdentity, 'tunnel' | 'connector' | 'grantKeys'>
  /** By `jti`: until when, in milliseconds since the epoch. In the order in which they came. */
  readonly #taken = new Map<string, number>()

  constructor(identity: Pick<JoinIdentity, 'tunnel' | 'connector' | 'grantKeys'>) {
    this.#identity = identity
  }

  /** @throws PosternError TOKEN_EXPIRED, AUTH_REJECTED, LIMIT_EXCEEDED */
  async take(token: unknown, { client, requestId }: GrantedPipe): Promise<Grant> {
    const { tunnel, connector, grantKeys } = this.#identity
    const grant = await readGrant(token, grantKeys.keys(), { tunnel, connector })
    const refused = (why: string) => new PosternError('AUTH_REJECTED', `the grant ${why}`, { speaker: 'daemon' })
    if (grant.cnf !== client) throw refused('is for another key than was proved')
    // The edge cuts a pipe with the admission that it joined it for: under another one somebody would stay who was put out.
    if (grant.sid !== requestId) throw refused('is of another admission than this pipe')
    const now = Date.now()
    for (const [jti, until] of this.#taken) if (until <= now) this.#taken.delete(jti)
    if (this.#taken.has(grant.jti)) throw refused('was used already')
    if (this.#taken.size >= MOST)
      throw new PosternError('LIMIT_EXCEEDED', 'too many end-to-end sessions in a minute', { speaker: 'daemon' })
    this.#taken.set(grant.jti, rememberUntil(grant))
    return grant
  }
}
