import { randomBytes } from 'node:crypto'
import { hashSecret, randomSecret } from './secret.ts'

const ID = /^pst_[0-9a-f]{24}$/

/** A service token as it is shown once. Only `id` and `hash` may be kept. */
export interface NewServiceToken {
  /** `pst_` and 24 hexadecimal digits: public, and easy to find for a secret scanner's neighbour rule. */
  readonly id: string
  /** `psts_` and 43 characters: 256 random bits. */
  readonly secret: string
  readonly hash: string
}

/**
 * Makes a service token.
 *
 * @example
 * const { id, secret, hash } = createServiceToken()
 * await records.put(id, { name: 'ci', hash })   // and show `secret` to its owner, once
 */
export function createServiceToken(): NewServiceToken {
  const secret = `psts_${randomSecret()}`
  return { id: `pst_${randomBytes(12).toString('hex')}`, secret, hash: hashSecret(secret) }
}

/** Whether a word from outside has the form of a service token's id. Linear, and false for anything longer. */
export function isServiceTokenId(word: string): boolean {
  return word.length === 28 && ID.test(word)
}
