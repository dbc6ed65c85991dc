import { type Call, type ClientHost, type Json, PosternError } from '@postern/interface'

/** Milliseconds that one question to the edge may take, beside the person. */
const PATIENCE = 15_000

/** With what the edge is asked. */
export interface Asking {
  readonly host: ClientHost
  readonly call: Call
}

export interface Answered {
  readonly status: number
  readonly requestId: string | undefined
  /** Empty where the answer was no object of JSON. */
  readonly value: Readonly<Record<string, Json>>
}

/** What an authorization server answered instead of what it was asked for (RFC 6749, section 5.2). */
export class OAuthError extends Error {
  override readonly name = 'OAuthError'
  readonly code: string
  readonly description: string | undefined
  readonly requestId: string | undefined

  constructor(code: string, { value, requestId }: Answered) {
    super(`the authorization server answered ${code}`)
    this.code = code
    this.description = typeof value.error_description === 'string' ? value.error_description : undefined
    this.requestId = requestId
  }
}

/** @throws PosternError what the host's fetch throws; EDGE_UNREACHABLE after 15 s; `call.signal.reason` */
export async function askJson(url: URL, init: RequestInit, { host, call }: Asking): Promise<Answered> {
  const late = AbortSignal.timeout(PATIENCE)
  try {
    const headers = { accept: 'application/json', ...(init.headers as Record<string, string>) }
    const answer = await host.fetch(url, { ...init, headers, signal: AbortSignal.any([call.signal, late]) })
    const requestId = answer.headers.get('postern-request-id') ?? undefined
    return { status: answer.status, requestId, value: objectIn(await answer.text()) }
  } catch (cause) {
    call.signal.throwIfAborted()
    if (late.aborted)
      throw new PosternError('EDGE_UNREACHABLE', `${url.host} did not answer within ${PATIENCE / 1000} s`, {
        cause,
        speaker: 'client',
      })
    throw PosternError.from(cause, 'EDGE_UNREACHABLE', { speaker: 'client' })
  }
}

/** @throws OAuthError; PosternError EDGE_UNAVAILABLE, RATE_LIMITED, and what asking throws */
export async function postForm(url: URL, fields: Readonly<Record<string, string>>, asking: Asking): Promise<Answered> {
  const answer = await askJson(url, { method: 'POST', body: new URLSearchParams(fields) }, asking)
  const { status, value, requestId } = answer
  if (status === 200) return answer
  const facts = { speaker: 'edge', ...(requestId && { requestId }) } as const
  if (status === 429) throw new PosternError('RATE_LIMITED', `${url.host}: too many attempts from here`, facts)
  if (typeof value.error === 'string' && status < 500) throw new OAuthError(value.error, answer)
  throw new PosternError('EDGE_UNAVAILABLE', `${url.host} cannot sign anybody in now (status ${status})`, facts)
}

function objectIn(text: string): Answered['value'] {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Answered['value']) : {}
  } catch {
    return {}
  }
}
