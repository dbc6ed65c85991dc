import { type Call, type Credential, PosternError, type SignableRequest } from '@postern/interface'

/** The headers of several credentials for one request. @throws PosternError OPTION_CONFLICT where two set the same */
export async function headerPairs(
  credentials: readonly Credential[],
  request: SignableRequest,
  call: Call,
): Promise<readonly (readonly [string, string])[]> {
  const pairs = new Map<string, string>()
  for (const { headers = {} } of credentials) {
    const all = typeof headers === 'function' ? await headers(request, call) : headers
    for (const [name, value] of Object.entries(all)) {
      const key = name.toLowerCase()
      if (pairs.has(key))
        throw new PosternError('OPTION_CONFLICT', `two of the --auth given set the header ${key}; only one can`)
      pairs.set(key, typeof value === 'string' ? value : value.join(', '))
    }
  }
  return [...pairs]
}

/** `host:port`, with the brackets of an IPv6 address. */
export function addressOf(edge: URL): string {
  return `${edge.hostname}:${edge.port === '' ? 443 : edge.port}`
}
