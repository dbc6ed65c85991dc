import { readFileSync } from 'node:fs'
import { type IncomingMessage, request as plainRequest } from 'node:http'
import { request as tlsRequest } from 'node:https'

/** What a browser got. */
export interface Shown {
  readonly url: URL
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

export interface Wish {
  readonly method?: string
  readonly form?: Readonly<Record<string, string>>
  /** A body as it is, in place of a form. */
  readonly raw?: string
  /** In place of what a browser would say. */
  readonly headers?: Readonly<Record<string, string>>
  /** In place of the jar. */
  readonly cookie?: string
}

/** As much of a browser as signing in needs: a jar of cookies by host, redirects, a page that goes on, forms. */
export class Browser {
  /** host → name → value */
  readonly jar = new Map<string, Map<string, string>>()
  /** Everything that was asked for, in order. */
  readonly went: URL[] = []
  readonly #port: number
  readonly #ca: Buffer

  constructor(port: number, caFile: string) {
    this.#port = port
    this.#ca = readFileSync(caFile)
  }

  cookies(host: string): Map<string, string> {
    const found = this.jar.get(host) ?? new Map<string, string>()
    this.jar.set(host, found)
    return found
  }

  /** One request, as a navigation. */
  async ask(address: string | URL, wish: Wish = {}): Promise<Shown> {
    const url = new URL(address)
    this.went.push(url)
    const body = wish.raw ?? (wish.form && new URLSearchParams(wish.form).toString())
    const method = wish.method ?? (body === undefined ? 'GET' : 'POST')
    const cookie = wish.cookie ?? [...this.cookies(url.hostname)].map(([name, value]) => `${name}=${value}`).join('; ')
    const headers: Record<string, string> = {
      host: url.host,
      accept: 'text/html,*/*;q=0.8',
      'sec-fetch-mode': 'navigate',
      'sec-fetch-dest': 'document',
      'sec-fetch-site': body === undefined ? 'none' : 'same-origin',
      ...(cookie !== '' && { cookie }),
      ...(body !== undefined && { origin: 'null', 'content-type': 'application/x-www-form-urlencoded' }),
      ...(body !== undefined && { 'content-length': String(Buffer.byteLength(body)) }),
      ...wish.headers,
    }
    for (const [name, value] of Object.entries(headers)) if (value === '') delete headers[name]
    const isOurs = url.protocol === 'https:'
    const options = { method, headers, path: url.pathname + url.search, agent: false } as const
    const sent = isOurs
      ? tlsRequest({ ...options, host: '127.0.0.1', port: this.#port, servername: url.hostname, ca: this.#ca })
      : plainRequest({ ...options, host: url.hostname, port: url.port })
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      sent.once('response', resolve)
      sent.once('error', reject)
      sent.end(body)
    })
    const chunks: Buffer[] = []
    for await (const chunk of response) chunks.push(chunk as Buffer)
    this.#keep(url, response.headers['set-cookie'] ?? [])
    const { statusCode: status = 0, headers: received } = response
    return { url, status, headers: received, body: Buffer.concat(chunks).toString() }
  }

  /** The same, and on through redirects and pages that go on, until something stays. */
  async open(address: string | URL, wish: Wish = {}): Promise<Shown> {
    let shown = await this.ask(address, wish)
    for (let hop = 0; hop < 12; hop += 1) {
      const to = nextOf(shown)
      if (to === undefined) return shown
      shown = await this.ask(to)
    }
    throw new Error(`it goes on without end: ${this.went.slice(-4).join(' → ')}`)
  }

  /** Sends the one form of a page, as it is with what is filled in. */
  submit(page: Shown, fields: Readonly<Record<string, string>>, wish: Wish = {}): Promise<Shown> {
    const [, action = ''] = /<form method="post" action="([^"]+)"/.exec(page.body) ?? []
    return this.open(new URL(unescaped(action), page.url), { form: { ...hidden(page), ...fields }, ...wish })
  }

  #keep({ hostname }: URL, lines: readonly string[]): void {
    for (const line of lines) {
      const [pair = '', ...attributes] = line.split('; ')
      const name = pair.slice(0, pair.indexOf('='))
      if (attributes.includes('Max-Age=0')) this.cookies(hostname).delete(name)
      else this.cookies(hostname).set(name, pair.slice(name.length + 1))
    }
  }
}

/** Where an answer leads by itself. */
export function nextOf({ url, status, headers, body }: Shown): URL | undefined {
  if (status >= 300 && status < 400 && headers.location !== undefined) return new URL(headers.location, url)
  const [, on] = /<meta http-equiv="refresh" content="0; url=([^"]+)">/.exec(body) ?? []
  return on === undefined ? undefined : new URL(unescaped(on), url)
}

/** The hidden fields of a page’s form. */
export function hidden({ body }: Shown): Record<string, string> {
  const found = body.matchAll(/<input type="hidden" name="([^"]+)"(?: autocomplete="[^"]+")? value="([^"]*)">/g)
  return Object.fromEntries([...found].map(([, name = '', value = '']) => [name, unescaped(value)]))
}

function unescaped(text: string): string {
  return text
    .replaceAll('&quot;', '"')
    .replaceAll('&#39;', "'")
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&amp;', '&')
}
