import { PosternError, type ReceivedHeaders } from '@postern/interface'

export const ID_HEADER = 'postern-client-id'
export const SECRET_HEADER = 'postern-client-secret'

/** Cloudflare Access's names for the same two, so that what was configured for it goes on working. */
const ALIASES = { id: 'cf-access-client-id', secret: 'cf-access-client-secret' }

export interface Pair {
  readonly id: string
  readonly secret: string
}

/**
 * The pair as presented, from these four headers only: never from a query or a cookie, which end up in logs and histories.
 *
 * @returns undefined when none of the four is there
 * @throws PosternError BAD_USAGE: one of them twice, or both spellings; AUTH_REJECTED: half a pair
 */
export function readPair(headers: ReceivedHeaders): Pair | undefined {
  const ours = readSpelling(headers, ID_HEADER, SECRET_HEADER)
  const aliased = readSpelling(headers, ALIASES.id, ALIASES.secret)
  if (ours && aliased) throw new PosternError('BAD_USAGE', 'a service token was presented in two spellings')
  const found = ours ?? aliased
  if (!found) return undefined
  const { id, secret } = found
  if (id === undefined || secret === undefined)
    throw new PosternError('AUTH_REJECTED', 'a service token needs both its id and its secret')
  return { id, secret }
}

function readSpelling(headers: ReceivedHeaders, idName: string, secretName: string): Partial<Pair> | undefined {
  const id = readOnce(headers, idName)
  const secret = readOnce(headers, secretName)
  if (id === undefined && secret === undefined) return undefined
  return { ...(id !== undefined && { id }), ...(secret !== undefined && { secret }) }
}

function readOnce(headers: ReceivedHeaders, name: string): string | undefined {
  const values = Object.hasOwn(headers, name) ? headers[name] : undefined
  if (values && values.length > 1) throw new PosternError('BAD_USAGE', `${name} was sent ${values.length} times`)
  return values?.[0]
}
