import {
  type AuthVerifier,
  type Call,
  type OptionSpecs,
  type Options,
  type Plugin,
  PosternError,
  type Presented,
  type Verdict,
} from '@postern/interface'
import type { Framework } from '../case.ts'
import { within } from '../expect.ts'
import { type FakeEdgeHost, fakeClientHost, fakeEdgeHost } from '../hosts.ts'
import { secretsOf, withDefaults } from '../options.ts'
import { type AuthClientKit, working } from './client.ts'
import { headersOf, present, requestFor } from './presenting.ts'

export interface AuthKit<C extends OptionSpecs, E extends OptionSpecs> extends AuthClientKit<C> {
  readonly edge: Plugin<'auth', 'edge', E>
  readonly edgeOptions?: Partial<Options<E>>
  /** Writes what the edge must know, so that `clientOptions` are good, and the ones below expired and revoked. */
  readonly seed?: (host: FakeEdgeHost) => Promise<void>
  /**
   * For a credential with a client certificate: PEM of the CAs that its hostname asks for. It is proved to them in a handshake, and its
   * own cases are added.
   */
  readonly authorities?: readonly string[]
  /**
   * In place of `clientOptions`: well-formed, and wrong (AUTH_REJECTED), expired (TOKEN_EXPIRED), revoked (TOKEN_REVOKED); where there
   * are `authorities`, of one of them: wrong (CERTIFICATE_REJECTED), expired (CERTIFICATE_EXPIRED), revoked (CERTIFICATE_REVOKED).
   */
  readonly wrong?: Partial<Options<C>>
  readonly expired?: Partial<Options<C>>
  readonly revoked?: Partial<Options<C>>
}

export type State = 'good' | 'wrong' | 'expired' | 'revoked'

export interface AuthSubject {
  readonly hasCertificate: boolean
  has(state: State): boolean
  create(state: State, call: Call): Promise<Omit<Verifying, 'verify'>>
}

export interface Verifying {
  readonly verifier: AuthVerifier
  readonly host: FakeEdgeHost
  /** What the client side gave, as it arrives. */
  readonly presented: Presented
  /** The names of the headers that are the credential's own. */
  readonly own: readonly string[]
  /** Values that must never be seen. */
  readonly secrets: readonly string[]
  verify(presented: Presented): Promise<Verdict | undefined>
}

export function authSubject<C extends OptionSpecs, E extends OptionSpecs>(
  kit: Omit<AuthKit<C, E>, keyof Framework>,
): AuthSubject {
  const optionsOf = (state: State): Partial<Options<C>> | undefined =>
    state === 'good' ? (kit.clientOptions ?? {}) : kit[state]
  return {
    hasCertificate: kit.authorities !== undefined,
    has: state => optionsOf(state) !== undefined,
    create: async (state, call) => {
      const host = fakeEdgeHost()
      await kit.seed?.(host)
      const values = withDefaults(kit.client.options, optionsOf(state))
      const provider = await kit.client.create(values, (kit.clientHost ?? fakeClientHost)())
      const purpose = await working(provider, kit.purposes, call)
      const credential = await provider.authenticate(requestFor(purpose), call)
      await provider[Symbol.asyncDispose]?.()
      return {
        host,
        verifier: await kit.edge.create(withDefaults(kit.edge.options, kit.edgeOptions), host),
        presented: await present(credential, kit.authorities ?? [], call),
        own: Object.keys(await headersOf(credential, call)),
        secrets: secretsOf(kit.client.options, values),
      }
    },
  }
}

/** Runs with a fresh verifier and a fresh credential in the state asked for. */
export async function withVerifier(
  subject: AuthSubject,
  call: Call,
  state: State,
  body: (verifying: Verifying) => Promise<void>,
): Promise<void> {
  const created = await subject.create(state, call)
  const { verifier } = created
  try {
    await body({
      ...created,
      verify: presented => within(verifier.verify(presented, call), 'verify() must answer', 10_000),
    })
  } finally {
    await within(Promise.resolve(verifier[Symbol.asyncDispose]?.()), 'dispose')
  }
}

export function isTyped(error: unknown): error is PosternError {
  return PosternError.is(error)
}
