import type { IncomingHttpHeaders } from 'node:http'
import { TEAM_COOKIE } from '../src/team/cookies.ts'

export const TEAM = 'https://edge.localhost'
export const FORM = { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' }

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

export interface Send {
  readonly headers?: Readonly<Record<string, string | readonly string[]>>
  readonly body?: string
  readonly host?: string
}

export type Sender = (method: string, target: string, how?: Send) => Promise<Answer>

/** Cookies, and the forms of pages. */
export class Browser {
  readonly #send: Sender
  /** By name and path, as browsers keep them. */
  readonly #cookies = new Map<string, { readonly name: string; readonly value: string; readonly path: string }>()

  constructor(send: Sender, teamCookie?: string) {
    this.#send = send
    if (teamCookie !== undefined) this.#cookies.set(TEAM_COOKIE, { name: TEAM_COOKIE, value: teamCookie, path: '/' })
  }

  get cookieNames(): readonly string[] {
    return [...this.#cookies.values()].map(({ name }) => name)
  }

  get(url: string): Promise<Answer> {
    return this.#ask('GET', pathOf(url))
  }

  /** A form of a page: its hidden fields, and what the person puts in. */
  submit(page: Answer, action: string, fields: Record<string, string>): Promise<Answer> {
    return this.post(action, { ...hiddenOf(page.body), ...fields })
  }

  post(action: string, fields: Record<string, string>, headers: Record<string, string> = SAME_SITE): Promise<Answer> {
    return this.#ask('POST', action, { headers: { ...FORM, ...headers }, body: new URLSearchParams(fields).toString() })
  }

  async #ask(method: string, path: string, how: Send = {}): Promise<Answer> {
    const cookie = [...this.#cookies.values()]
      .filter(one => isUnder(path.split('?', 1)[0] ?? '', one.path))
      .map(({ name, value }) => `${name}=${value}`)
    const headers = { accept: 'text/html', ...how.headers, ...(cookie.length > 0 && { cookie: cookie.join('; ') }) }
    const answer = await this.#send(method, path, { ...how, headers })
    for (const line of answer.headers['set-cookie'] ?? []) this.#take(line)
    return answer
  }

  #take(line: string): void {
    const [pair = '', ...attributes] = line.split(/; ?/)
    const at = pair.indexOf('=')
    const path = attributes.find(one => /^path=/i.test(one))?.slice(5) ?? '/'
    const isOver = attributes.some(one => /^expires=Thu, 01 Jan 1970/i.test(one) || /^max-age=0$/i.test(one))
    const name = pair.slice(0, at)
    if (isOver) this.#cookies.delete(`${name} ${path}`)
    else this.#cookies.set(`${name} ${path}`, { name, value: pair.slice(at + 1), path })
  }
}

export const SAME_SITE = { origin: TEAM, 'sec-fetch-site': 'same-origin', 'sec-fetch-mode': 'navigate' }

export function hiddenOf(page: string): Record<string, string> {
  const fields = page.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)">/g)
  return Object.fromEntries([...fields].map(([, name = '', value = '']) => [name, value]))
}

/** Path and query. */
export function pathOf(url: string): string {
  const { pathname, search } = new URL(url, TEAM)
  return pathname + search
}

function isUnder(path: string, cookiePath: string): boolean {
  return cookiePath === '/' || path === cookiePath || path.startsWith(`${cookiePath}/`)
}

/** Where a page goes on to by itself. */
export function goOnOf({ body }: Answer): string {
  return (/http-equiv="refresh" content="0; url=([^"]+)"/.exec(body)?.[1] ?? '').replaceAll('&amp;', '&')
}
