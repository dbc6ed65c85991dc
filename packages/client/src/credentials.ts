import {
  type AuthProvider,
  type AuthRequest,
  type Call,
  type Credential,
  PosternError,
  type SentHeaders,
  type SignableRequest,
} from '@postern/interface'
import { untilAborted } from './waiting.ts'

/** Asks every provider, then makes one credential of the answers. @throws PosternError OPTION_CONFLICT; what a provider throws; `call.signal.reason` */
export async function authenticate(
  providers: readonly AuthProvider[],
  request: AuthRequest,
  call: Call,
): Promise<Credential> {
  return merge(await askEach(providers, () => request, call))
}

/**
 * Asks every provider. Of several, what was refused may be the part of one alone: who has no answer to a refusal gives what it gave
 * before, as long as another one answers.
 *
 * @param requestFor what the provider at that place is asked
 * @throws PosternError AUTH_REJECTED: nobody has an answer; what else a provider throws; `call.signal.reason`
 */
export async function askEach(
  providers: readonly AuthProvider[],
  requestFor: (at: number) => AuthRequest,
  call: Call,
): Promise<readonly Credential[]> {
  const parts: Credential[] = []
  let unanswered: unknown
  let isAnswered = false
  for (const [at, provider] of providers.entries()) {
    const { refused, ...first } = requestFor(at)
    const ask = (request: AuthRequest) => untilAborted(provider.authenticate(request, call), call.signal)
    try {
      parts.push(await ask(refused === undefined ? first : { ...first, refused }))
      isAnswered = true
    } catch (error) {
      if (refused === undefined || !PosternError.is(error) || error.code !== 'AUTH_REJECTED') throw error
      unanswered ??= error
      if (providers.length > 1) parts.push(await ask(first))
    }
  }
  if (!isAnswered && unanswered !== undefined) throw unanswered
  return parts
}

/** The certificate among them. @throws PosternError OPTION_CONFLICT where there are two: only one can be shown */
export function certificateAmong(parts: readonly Credential[]): Credential['tls'] {
  const [first, ...others] = parts.filter(part => part.tls)
  if (others.length === 0) return first?.tls
  throw new PosternError('OPTION_CONFLICT', 'two of the --auth given present a client certificate; only one can be')
}

/** Two that set the same header, or two certificates, cannot both be meant. */
export function merge(parts: readonly Credential[]): Credential {
  if (parts.length === 1 && parts[0]) return parts[0]
  const tls = certificateAmong(parts)
  const expiries = parts.flatMap(part => (part.expiresAt === undefined ? [] : [part.expiresAt]))
  return {
    headers: async (target, call) => combine(await Promise.all(parts.map(part => headersOf(part, target, call)))),
    ...(tls && { tls }),
    ...(expiries.length > 0 && { expiresAt: Math.min(...expiries) }),
  }
}

/** The headers a credential has for one request, signed where the scheme signs. */
export async function headersOf(credential: Credential, target: SignableRequest, call: Call): Promise<SentHeaders> {
  return typeof credential.headers === 'function' ? credential.headers(target, call) : (credential.headers ?? {})
}

function combine(all: readonly SentHeaders[]): SentHeaders {
  const out: Record<string, string | readonly string[]> = {}
  for (const headers of all) {
    for (const [name, value] of Object.entries(headers)) {
      const key = name.toLowerCase()
      if (Object.hasOwn(out, key))
        throw new PosternError('OPTION_CONFLICT', `two of the --auth given set the header ${key}; only one can`)
      out[key] = value
    }
  }
  return out
}
