import { randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from 'node:crypto'
import { PosternError } from '@postern/interface'
import { Line } from './line.ts'

/** Characters (code points, after normalisation). NIST SP 800-63B-4 §3.1.1.2: by length alone, without rules of composition. */
export const SHORTEST_PASSWORD = 12
export const LONGEST_PASSWORD = 256

/** OWASP's password storage cheat sheet: N=2^16, r=8, p=1. 64 MiB for each that is worked on. */
const LOG_COST = 16
const MOST_MEMORY = 128 * 2 ** 20
const SALT_BYTES = 16
const DIGEST_BYTES = 32
/** At once: 128 MiB, and two threads of libuv’s four, so that files and names are never behind passwords. */
const MOST_AT_ONCE = 2
/** About five seconds of work on a small machine. */
const MOST_WAITING = 32

/** For whom a password is worked on. */
export interface Asker {
  /** Among whom turns are taken: an address. */
  readonly who: string
  readonly signal: AbortSignal
}

/** Hashes passwords, a bounded number at once; others wait in a bounded line. */
export class Passwords {
  readonly #line = new Line({ mostAtOnce: MOST_AT_ONCE, mostWaiting: MOST_WAITING })
  readonly #cost: ScryptOptions
  readonly #before: string
  readonly #hash: RegExp
  /** Worked through when there is nothing to compare with: whom nobody knows takes as long as whom somebody does. */
  readonly #nobody: string

  /** @param logCost log2 of scrypt's N: less than the default is for tests, where each password would take 0.2 s of a core */
  constructor(logCost: number = LOG_COST) {
    this.#cost = { N: 2 ** logCost, r: 8, p: 1, maxmem: MOST_MEMORY }
    this.#before = `scrypt$${logCost}$8$1$`
    this.#hash = new RegExp(`^scrypt\\$${logCost}\\$8\\$1\\$([A-Za-z0-9_-]{22})\\$([A-Za-z0-9_-]{43})$`)
    this.#nobody = this.#formOf(randomBytes(SALT_BYTES), randomBytes(DIGEST_BYTES))
  }

  /**
   * What may be kept of a password: `scrypt$16$8$1$<salt>$<digest>`.
   *
   * @throws PosternError BAD_USAGE: too short, too long, or no text; EDGE_UNAVAILABLE: too many wait; `signal.reason`
   */
  async hash(password: string, asker: Asker): Promise<string> {
    const wrong = wrongWith(password)
    if (wrong !== undefined)
      throw new PosternError('BAD_USAGE', wrong, { speaker: 'edge', next: 'Choose another one.' })
    const salt = randomBytes(SALT_BYTES)
    return this.#formOf(salt, await this.#digest(normal(password), salt, asker))
  }

  /**
   * Whether a password is the one that was hashed. The same work whether or not there is a hash, and whatever the password is.
   *
   * @throws PosternError EDGE_UNAVAILABLE: too many wait; `signal.reason`
   */
  async verify(password: string, hash: string | undefined, asker: Asker): Promise<boolean> {
    const isPossible = wrongWith(password) === undefined
    const known = this.#hash.exec(hash ?? '')
    const [, salt = '', digest = ''] = known ?? this.#hash.exec(this.#nobody) ?? []
    const text = isPossible ? normal(password) : ''
    const equal = timingSafeEqual(
      await this.#digest(text, Buffer.from(salt, 'base64url'), asker),
      Buffer.from(digest, 'base64url'),
    )
    return equal && known !== null && isPossible
  }

  async #digest(password: string, salt: Uint8Array, { signal, who }: Asker): Promise<Buffer> {
    using _turn = await this.#line.turn(who, signal)
    return await derive(password, salt, this.#cost)
  }

  #formOf(salt: Buffer, digest: Buffer): string {
    return `${this.#before}${salt.toString('base64url')}$${digest.toString('base64url')}`
  }
}

/** The same characters, however a keyboard composed them. */
function normal(password: string): string {
  return password.normalize('NFC')
}

/** @returns what is wrong, as a sentence for whoever chose it; undefined when it may be used */
function wrongWith(password: string): string | undefined {
  // Before it is normalised, which may lengthen it threefold.
  if (password.length > 4 * LONGEST_PASSWORD) return `the password has more than ${LONGEST_PASSWORD} characters`
  if (!password.isWellFormed()) return 'the password is no text'
  const { length } = [...normal(password)]
  if (length > LONGEST_PASSWORD) return `the password has more than ${LONGEST_PASSWORD} characters`
  return length < SHORTEST_PASSWORD ? `the password has fewer than ${SHORTEST_PASSWORD} characters` : undefined
}

function derive(password: string, salt: Uint8Array, cost: ScryptOptions): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(password, salt, DIGEST_BYTES, cost, (error, digest) => (error ? reject(error) : resolve(digest)))
  })
}
