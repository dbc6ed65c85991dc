// fetch as a machine: two headers, and care where they go.

export interface ServiceToken {
  readonly id: string
  readonly secret: string
}

/** What the edge answers instead of the application (RFC 9457). */
export interface Refusal {
  /** Stable: `AUTH_REJECTED`, `TOKEN_EXPIRED`, `ACCESS_DENIED`, `TUNNEL_OFFLINE`, … */
  readonly code: string
  readonly title: string
  readonly next: string
  /** Finds the decision in the edge's audit log. */
  readonly requestId: string
}

export class Refused extends Error implements Refusal {
  override readonly name = 'Refused'
  readonly code: string
  readonly title: string
  readonly next: string
  readonly requestId: string

  constructor({ code, title, next, requestId }: Refusal) {
    super(`${code}: ${title}`)
    this.code = code
    this.title = title
    this.next = next
    this.requestId = requestId
  }
}

/**
 * A fetch for the applications that one service token may open. Nobody is followed elsewhere: `fetch` would take a header of ours along to
 * wherever an application redirects to, and this one is a secret.
 *
 * @param fetch the global one, or undici's with a dispatcher
 */
export function asMachine({ id, secret }: ServiceToken, fetch: typeof globalThis.fetch = globalThis.fetch) {
  return async (url: string | URL, init: RequestInit = {}): Promise<Response> => {
    const headers = new Headers(init.headers)
    headers.set('postern-client-id', id)
    headers.set('postern-client-secret', secret)
    const answer = await fetch(url, { ...init, headers, redirect: 'manual' })
    // Only the edge says so; an application's own 403 is passed on.
    if (answer.headers.get('content-type')?.startsWith('application/problem+json')) {
      const said = (await answer.clone().json()) as Partial<Refusal>
      if (said.code !== undefined && said.requestId === answer.headers.get('postern-request-id'))
        throw new Refused(said as Refusal)
    }
    return answer
  }
}
