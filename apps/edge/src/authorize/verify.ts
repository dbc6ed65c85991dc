import { isPromise } from 'node:util/types'
import {
  type AuthVerifier,
  type Call,
  type Code,
  type Identity,
  PosternError,
  type Presented,
  type SentHeaders,
} from '@postern/interface'
import { readVerdict } from './verdict.ts'

export interface NamedVerifier {
  readonly name: string
  readonly verifier: AuthVerifier
}

/** What all verifiers together made of what was presented. */
export type Verified =
  | { readonly identities: readonly Identity[]; readonly challenge: SentHeaders }
  /** `by`: the verifier that turned it down; `cause` only when it failed at its job. For the log, not for strangers. */
  | { readonly refused: Code; readonly by: string; readonly cause?: string }

/** What a verifier may throw to turn a credential down. Anything else it throws is a failure of its own. */
export const REFUSALS: readonly Code[] = [
  'BAD_USAGE',
  'RATE_LIMITED',
  'AUTH_REJECTED',
  'TOKEN_EXPIRED',
  'TOKEN_REVOKED',
  'CERTIFICATE_EXPIRED',
  'CERTIFICATE_REVOKED',
  'CERTIFICATE_REJECTED',
]

/** Milliseconds one verifier may take. */
export const VERIFY_DEADLINE = 5000

type One = ReturnType<typeof readVerdict> | { readonly refused: Code }

/**
 * Asks every verifier. One that turns the credential down, or fails at its job, denies whatever the others say; a refusal is
 * told rather than a failure, `BAD_USAGE` first.
 */
export async function verifyAll(
  verifiers: readonly NamedVerifier[],
  presented: Presented,
  call: Call,
  deadline: number = VERIFY_DEADLINE,
): Promise<Verified> {
  using limit = new Limit(call.signal, deadline)
  const limited = { ...call, signal: limit.signal }
  const answers = await Promise.all(
    verifiers.map(async one => ({ by: one.name, answer: await ask(one, presented, limited, limit.late) })),
  )
  for (const code of REFUSALS) {
    const found = answers.find(({ answer }) => 'refused' in answer && answer.refused === code)
    if (found !== undefined) return { refused: code, by: found.by }
  }
  const identities: Identity[] = []
  const challenge: Record<string, string | readonly string[]> = {}
  for (const { by, answer } of answers) {
    if ('nonsense' in answer) return { refused: 'PLUGIN_FAILED', by, cause: answer.nonsense }
    if ('identity' in answer) identities.push(answer.identity)
    if ('challenge' in answer) addHeaders(challenge, answer.challenge)
  }
  return { identities, challenge }
}

async function ask(
  { name, verifier }: NamedVerifier,
  presented: Presented,
  call: Call,
  late: Promise<never>,
): Promise<One> {
  try {
    const returned: unknown = verifier.verify(presented, call)
    // A look-alike of a promise runs its own code when it is awaited.
    if (!isPromise(returned)) return { nonsense: 'not a promise' }
    return readVerdict(await Promise.race([returned, late]), name)
  } catch (thrown) {
    return refusalOf(thrown)
  }
}

/** The time that all verifiers of one request have. By hand: a signal made of others costs more than most verifiers do. */
class Limit implements Disposable {
  readonly late: Promise<never>
  readonly #controller = new AbortController()
  readonly #timer: NodeJS.Timeout
  readonly #outer: AbortSignal
  readonly #abort = (): void => this.#controller.abort(this.#outer.reason)

  constructor(outer: AbortSignal, deadline: number) {
    this.#outer = outer
    const { promise, reject } = Promise.withResolvers<never>()
    this.late = promise
    // Nobody may be waiting for it.
    promise.catch(() => {})
    this.#timer = setTimeout(() => {
      const reason = new PosternError('TIMED_OUT', `no answer within ${deadline} ms`)
      this.#controller.abort(reason)
      reject(reason)
    }, deadline)
    if (outer.aborted) this.#abort()
    else outer.addEventListener('abort', this.#abort, { once: true })
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
    this.#outer.removeEventListener('abort', this.#abort)
  }
}

function refusalOf(thrown: unknown): One {
  try {
    const code = PosternError.is(thrown) ? thrown.code : undefined
    if (code !== undefined && REFUSALS.includes(code)) return { refused: code }
    return { nonsense: thrown instanceof Error ? thrown.message : String(thrown) }
  } catch {
    return { nonsense: 'threw something that throws when it is looked at' }
  }
}

/** Two schemes may both challenge under `www-authenticate`. */
function addHeaders(all: Record<string, string | readonly string[]>, more: SentHeaders): void {
  for (const [name, value] of Object.entries(more)) {
    const key = name.toLowerCase()
    const before = Object.hasOwn(all, key) ? [all[key] ?? []].flat() : []
    all[key] = [...before, ...[value].flat()]
  }
}
