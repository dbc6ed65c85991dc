import { PosternError } from '@postern/interface'
import { IDENTITY_HEADER } from '@postern/tokens'

/**
 * Where the token is: the header’s value, or a request that has it: the fetch API’s `Request`, `IncomingMessage` of
 * node:http, or whatever has `headers` like one of these.
 */
export type PresentedToken =
  | string
  | undefined
  | null
  | { readonly headers: { get(name: string): string | null } }
  | { readonly headers: Readonly<Record<string, string | readonly string[] | undefined>> }

/**
 * The token of a request. A header that was sent twice arrives as one value with a comma or as a list: both are refused later,
 * since no token has that form.
 *
 * @throws LOGIN_REQUIRED when there is none
 */
export function tokenOf(presented: PresentedToken): unknown {
  const value = typeof presented === 'object' && presented !== null ? headerOf(presented.headers) : presented
  if (value !== undefined && value !== null && value !== '') return value
  throw new PosternError('LOGIN_REQUIRED', `the request has no ${IDENTITY_HEADER} header`, {
    next: 'Reach the application through the edge; if this request came from there, update the edge.',
  })
}

function headerOf(headers: Extract<PresentedToken, object>['headers'] | undefined): unknown {
  if (typeof headers?.get === 'function') return headers.get(IDENTITY_HEADER)
  return (headers as Readonly<Record<string, unknown>> | undefined)?.[IDENTITY_HEADER]
}
