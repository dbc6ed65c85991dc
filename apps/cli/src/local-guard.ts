import type { IncomingHttpHeaders } from 'node:http'

/** Why a request to the local address is turned down, for who sent it. */
export interface Unwanted {
  readonly status: 403 | 421
  readonly why: string
}

/**
 * Who may use the local address of `access http`. Whoever can, is let in as the person who runs it, and every page of every
 * browser here can send requests to it: so it answers to its own names only (a name elsewhere that points here is another one:
 * DNS rebinding), and to no other page's requests. What names no page is a program of this machine.
 *
 * @param port where it listens
 */
export function unwanted(
  headers: IncomingHttpHeaders,
  port: number,
  request: { readonly method: string; readonly isUpgrade: boolean },
): Unwanted | undefined {
  const names = ['localhost', '127.0.0.1', '[::1]'].flatMap(name =>
    port === 80 ? [name, `${name}:80`] : [`${name}:${port}`],
  )
  if (!names.includes(headers.host?.toLowerCase() ?? ''))
    return { status: 421, why: `This is http://localhost:${port}, and answers to no other name.` }
  if (headers.origin !== undefined && !names.some(name => headers.origin === `http://${name}`))
    return { status: 403, why: 'A page of another origin may not use this address.' }
  const from = headers['sec-fetch-site']
  const isOther = from !== undefined && from !== 'same-origin' && from !== 'none'
  const opens = headers['sec-fetch-mode'] === 'navigate' && headers['sec-fetch-dest'] === 'document'
  if (isOther && (request.isUpgrade || request.method !== 'GET' || !opens))
    return { status: 403, why: 'A page of another origin may not use this address.' }
  return undefined
}
