import { type AuthVerifier, type Call, type Json, PosternError, type Presented, type Verdict } from '@postern/interface'
import { readVerdict } from '../authorize/verdict.ts'
import { REFUSALS } from '../authorize/verify.ts'
import type { Kept } from './kept.ts'

/** Milliseconds for one permit. */
const CHECK_TIME = 2000
const MOST_MISTAKES = 16
const LONGEST_MISTAKE = 512

/** A verifier in its own thread. While there is none, and whenever it fails, its answer is an error, which denies. */
export class KeptVerifier implements AuthVerifier {
  readonly #kept: Kept
  readonly #name: string
  readonly #reads: readonly string[] | undefined
  readonly #team: () => string

  /**
   * @param reads what of a request it wants to see; absent: all
   * @param team issuer of the people in the team's own directory, whom the edge itself signs in
   */
  constructor(kept: Kept, name: string, reads: readonly string[] | undefined, team: () => string) {
    this.#kept = kept
    this.#name = name
    this.#reads = reads
    this.#team = team
  }

  async verify(presented: Presented, { signal }: Call): Promise<Verdict | undefined> {
    if (this.#reads !== undefined && !isFor(presented, this.#reads)) return undefined
    const read = (answer: unknown) => {
      const verdict = readVerdict(answer, this.#name)
      if ('nonsense' in verdict) throw new Error(verdict.nonsense)
      if ('identity' in verdict && verdict.identity.issuer === this.#team())
        throw new Error('the identity claims to be of the team’s own directory')
      return answer as Verdict | undefined
    }
    const isRefusal = (thrown: unknown) => PosternError.is(thrown) && REFUSALS.includes(thrown.code)
    return this.#kept.ask(shown(presented, this.#reads), read, isRefusal, signal)
  }
}

/** What may be permitted inside a protocol, asked of a thread. */
export class KeptRules {
  readonly #kept: Kept
  readonly #name: string

  constructor(kept: Kept, name: string) {
    this.#kept = kept
    this.#name = name
  }

  /** @returns what is wrong with a permit, a sentence each @throws PosternError EDGE_UNAVAILABLE: the plugin failed */
  async check(permit: Json): Promise<readonly string[]> {
    try {
      return await this.#kept.ask(permit, readMistakes, () => false, AbortSignal.timeout(CHECK_TIME))
    } catch (cause) {
      const message = `the plugin ${this.#name} cannot say whether the permit is right: ${PosternError.from(cause).message}`
      throw new PosternError('EDGE_UNAVAILABLE', message, { speaker: 'edge', cause })
    }
  }
}

function readMistakes(answer: unknown): readonly string[] {
  // A list may be said to have four thousand million; and where it has gaps, `every` would not look.
  const first: readonly unknown[] | undefined = Array.isArray(answer) ? [...answer.slice(0, MOST_MISTAKES)] : undefined
  if (!first?.every(one => typeof one === 'string')) throw new Error('check says no list of texts')
  return first.map(one => one.slice(0, LONGEST_MISTAKE))
}

function isFor({ headers, peerCertificate }: Presented, reads: readonly string[]): boolean {
  return reads.some(one => (one === ':certificate' ? peerCertificate !== undefined : Object.hasOwn(headers, one)))
}

/** A copy with what it reads: other people's credentials are none of its business. */
function shown(presented: Presented, reads: readonly string[] | undefined): Presented {
  const { method, url, remoteAddress, headers, peerCertificate, peerCertificateError, peerCertificateChain } = presented
  const picked = reads?.filter(name => Object.hasOwn(headers, name)).map(name => [name, headers[name] ?? []] as const)
  const seen = picked === undefined ? headers : Object.fromEntries(picked)
  const base = { method, url, remoteAddress, headers: seen }
  if (peerCertificate === undefined || reads?.includes(':certificate') === false) return base
  // Bytes are copied: a slice of a pool would carry all of the pool across.
  return {
    ...base,
    peerCertificate: new Uint8Array(peerCertificate),
    ...(peerCertificateError !== undefined && { peerCertificateError }),
    ...(peerCertificateChain && { peerCertificateChain: peerCertificateChain.map(one => new Uint8Array(one)) }),
  }
}
