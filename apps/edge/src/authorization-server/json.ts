import type { SentHeaders } from '@postern/interface'
import type { Exchange } from '../front/exchange.ts'

/** Answers with a JSON document; members that are undefined are left out. */
export function sendJson(
  { response, requestId, method }: Exchange,
  status: number,
  document: Readonly<Record<string, unknown>>,
  headers: SentHeaders = {},
): void {
  const body = Buffer.from(JSON.stringify(document))
  const all: SentHeaders = {
    ...headers,
    'content-type': 'application/json',
    'content-length': String(body.length),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    'postern-request-id': requestId,
  }
  for (const [name, value] of Object.entries(all)) response.setHeader(name, value as string | string[])
  response.statusCode = status
  if (method === 'HEAD') response.end()
  else response.end(body)
}
