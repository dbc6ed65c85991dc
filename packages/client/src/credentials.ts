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
  const parts: Credential[] = []
  for (const provider of providers) parts.push(await untilAborted(provider.authenticate(request, call), call.signal))
  return merge(parts)
}

/** Two that set the same header, or two certificates, cannot both be meant. */
export function merge(parts: readonly Credential[]): Credential {
  if (parts.length === 1 && parts[0]) return parts[0]
  const certificates = parts.filter(part => part.tls)
  if (certificates.length > 1)
    throw new PosternError('OPTION_CONFLICT', 'two of the --auth given present a client certificate; only one can be')
  const expiries = parts.flatMap(part => (part.expiresAt === undefined ? [] : [part.expiresAt]))
  const tls = certificates[0]?.tls
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
