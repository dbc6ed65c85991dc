import { request } from 'node:https'
import { Readable } from 'node:stream'
import { isLoopbackName, lookup } from '@postern/client'
import { PosternError } from '@postern/interface'
import type { SamplePerson } from './person.ts'

/** As many as a browser takes. */
const MOST_STEPS = 20
/** Milliseconds without a byte of an answer. */
const PATIENCE = 30_000

/** The global `fetch`, for names of this machine only: they need no DNS, and the CA of the dev edge is trusted. */
export type DevFetch = (input: string | URL | Request, init?: RequestInit) => Promise<Response>

export interface Visited {
  /** `https://edge.localhost:12345` */
  readonly team: string
  /** PEM. */
  readonly ca: string
}

/**
 * Somebody with a browser, as far as a test without one needs it: cookies, redirects, the sign-in. It runs no scripts. An application that is
 * opened for the first time is entered first, as a browser does it; what the application itself sees is the request that was asked for.
 */
export interface Visitor {
  readonly fetch: DevFetch
}

/** Asks as nobody in particular: what is not in the request is not sent. @throws TypeError as `fetch`; PosternError DESTINATION_FORBIDDEN */
export function strangersFetch(to: Visited): DevFetch {
  return (input, init) => follow(to, new Request(input, init), ask)
}

/**
 * Signs a person in, on the edge's own pages.
 *
 * @throws PosternError AUTH_REJECTED: the password is not theirs
 */
export async function signIn(to: Visited, { email, password }: SamplePerson, signal: AbortSignal): Promise<Visitor> {
  const browsing = new Browsing(to)
  const page = await browsing.open(`${to.team}/`, signal)
  const done = await browsing.submit(page, { email, password }, signal)
  if (!done.ok || isSignIn(await done.text()))
    throw new PosternError('AUTH_REJECTED', `the edge did not sign ${email} in (status ${done.status})`)
  return { fetch: (input, init) => browsing.fetch(input, init) }
}

class Browsing {
  readonly #to: Visited
  readonly #cookies = new Map<string, Map<string, string>>()
  /** Hostnames whose application has a session of this person. */
  readonly #entered = new Set<string>()

  constructor(to: Visited) {
    this.#to = to
  }

  async fetch(input: string | URL | Request, init?: RequestInit): Promise<Response> {
    const asking: Asking = async (to, asked, body) => (await this.#refusal(asked)) ?? this.#ask(asked, to, body)
    return follow(this.#to, new Request(input, init), asking)
  }

  /** Enters an application that is new to this person. @returns what they were told instead */
  async #refusal(asked: Request): Promise<Response | undefined> {
    const { hostname } = new URL(asked.url)
    if (this.#entered.has(hostname) || hostname === new URL(this.#to.team).hostname) return undefined
    const refused = await this.#enter(asked)
    if (!refused) this.#entered.add(hostname)
    return refused
  }

  /** Goes to a page as somebody who types its address, and to where it leads. */
  async open(url: string, signal: AbortSignal): Promise<Response> {
    return this.#follow(new Request(url, { headers: NAVIGATION, signal }))
  }

  /** Sends a page's form with these fields besides its hidden ones. */
  async submit(page: Response, fields: Readonly<Record<string, string>>, signal: AbortSignal): Promise<Response> {
    const text = await page.text()
    const [, action = ''] = /<form method="post" action="([^"]*)"/.exec(text) ?? []
    const form = new URLSearchParams(fields)
    for (const [input] of text.matchAll(/<input type="hidden"[^>]*>/g)) {
      const [, name = ''] = /name="([^"]*)"/.exec(input) ?? []
      const [, value = ''] = /value="([^"]*)"/.exec(input) ?? []
      form.set(name, plain(value))
    }
    const url = new URL(plain(action), page.url)
    const headers = { ...NAVIGATION, origin: url.origin }
    const answer = await this.#follow(new Request(url, { method: 'POST', headers, body: form, signal }))
    const body = await answer.clone().text()
    const [, next] = /<meta http-equiv="refresh" content="0; url=([^"]*)"/.exec(body) ?? []
    return next === undefined ? answer : this.open(new URL(plain(next), url).href, signal)
  }

  /**
   * By way of the team domain and back, but for the last step, which is the application's.
   *
   * @returns what the edge answered instead: this person may not
   */
  async #enter({ url, signal }: Request): Promise<Response | undefined> {
    const { origin } = new URL(url)
    let at = new Request(url, { headers: NAVIGATION, signal })
    for (let step = 0; step < MOST_STEPS; step++) {
      const answer = await this.#ask(at)
      const to = leadsTo(answer)
      if (to === undefined) return answer.ok ? void (await answer.text()) : answer
      await answer.text()
      if (to.origin === origin && !to.pathname.startsWith('/.postern/')) return undefined
      at = new Request(to, { headers: NAVIGATION, signal })
    }
    throw new TypeError(`${url} leads on and on`)
  }

  #follow(asked: Request): Promise<Response> {
    return follow(this.#to, asked, (to, one, body) => this.#ask(one, to, body))
  }

  async #ask(asked: Request, to = this.#to, body?: Buffer): Promise<Response> {
    const { hostname } = new URL(asked.url)
    const cookie = [...(this.#cookies.get(hostname) ?? [])].map(([name, value]) => `${name}=${value}`).join('; ')
    if (cookie !== '') asked.headers.set('cookie', cookie)
    const answer = await ask(to, asked, body)
    for (const line of answer.headers.getSetCookie()) this.#keep(hostname, line)
    return answer
  }

  #keep(hostname: string, line: string): void {
    const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
    const own = this.#cookies.get(hostname) ?? new Map<string, string>()
    this.#cookies.set(hostname, own)
    if (/; *max-age=0/i.test(line)) own.delete(name)
    else own.set(name, value)
  }
}

/** What a browser says when somebody goes to a page. */
const NAVIGATION = { accept: 'text/html', 'sec-fetch-mode': 'navigate' }

type Asking = (to: Visited, asked: Request, body?: Buffer) => Promise<Response>

/** Redirects as `fetch` takes them: a request that was moved goes on without its body, and to strangers without its headers. */
async function follow(to: Visited, first: Request, asking: Asking): Promise<Response> {
  let asked = first
  let body = first.body === null ? undefined : Buffer.from(await first.arrayBuffer())
  for (let step = 0; step < MOST_STEPS; step++) {
    const answer = await asking(to, asked, body)
    const next = leadsTo(answer)
    if (next === undefined || first.redirect === 'manual') return answer
    if (first.redirect === 'error') throw new TypeError(`${asked.url} leads elsewhere`)
    await answer.text()
    const isSame = answer.status >= 307
    const headers = next.origin === new URL(asked.url).origin ? asked.headers : acceptOf(asked)
    if (!isSame) body = undefined
    const method = isSame || asked.method === 'HEAD' ? asked.method : 'GET'
    asked = new Request(next, { method, headers, signal: first.signal })
  }
  throw new TypeError(`${first.url} leads on and on`)
}

function acceptOf({ headers }: Request): Record<string, string> {
  return Object.fromEntries(
    Object.keys(NAVIGATION).flatMap(name => {
      const value = headers.get(name)
      return value === null ? [] : [[name, value]]
    }),
  )
}

function leadsTo({ status, headers, url }: Response): URL | undefined {
  const location = headers.get('location')
  return [301, 302, 303, 307, 308].includes(status) && location !== null ? new URL(location, url) : undefined
}

/** One request and its answer. */
function ask({ ca }: Visited, { url, method, headers, signal }: Request, body?: Buffer): Promise<Response> {
  const { protocol, hostname, port, pathname, search, host } = new URL(url)
  if (protocol !== 'https:' || !isLoopbackName(hostname))
    throw new PosternError('DESTINATION_FORBIDDEN', `${url} is not https: and a name of this machine`, {
      next: 'Ask other places with the global fetch.',
    })
  const sent = { ...Object.fromEntries(headers), host, ...(body && { 'content-length': body.length }) }
  const place = { hostname, port: port || 443, path: pathname + search, servername: hostname, lookup, ca }
  return new Promise((resolve, reject) => {
    const asking = request({ ...place, method, headers: sent, agent: false, signal, timeout: PATIENCE }, answer => {
      const received = new Headers()
      for (let at = 0; at + 1 < answer.rawHeaders.length; at += 2)
        received.append(answer.rawHeaders[at] ?? '', answer.rawHeaders[at + 1] ?? '')
      const status = answer.statusCode ?? 0
      const isEmpty = method === 'HEAD' || [204, 205, 304].includes(status)
      if (isEmpty) answer.resume()
      const content = isEmpty ? null : (Readable.toWeb(answer) as ReadableStream<Uint8Array>)
      const response = new Response(content, { status, headers: received })
      resolve(Object.defineProperty(response, 'url', { value: url }))
    })
    asking.on('timeout', () => asking.destroy(new Error(`${url} did not answer within ${PATIENCE / 1000} s`)))
    asking.on('error', error =>
      reject(signal.aborted ? signal.reason : new TypeError('fetch failed', { cause: error })),
    )
    asking.end(body)
  })
}

function isSignIn(page: string): boolean {
  return page.includes('name="password"')
}

/** Attribute text as it was meant. */
function plain(text: string): string {
  return text
    .replaceAll('&quot;', '"')
    .replaceAll('&#34;', '"')
    .replaceAll('&#39;', "'")
    .replaceAll('&lt;', '<')
    .replaceAll('&#60;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&#62;', '>')
    .replaceAll('&amp;', '&')
    .replaceAll('&#38;', '&')
}
