import { fetchTrusting } from './site.ts'

/** What a browser would show. */
export interface Shown {
  readonly url: string
  readonly status: number
  readonly body: string
}

const MOST_STEPS = 12

/**
 * What of a browser signing in needs: cookies by hostname, redirects, pages that go on by themselves, forms. Where hundreds sign in,
 * a real one is too slow.
 */
export class Visitor {
  readonly #cookies = new Map<string, Map<string, string>>()
  /** Every address that was asked for, as a browser's history would have it. */
  readonly history: string[] = []

  /** Opens an address and goes on to where it leads. */
  async open(url: string): Promise<Shown> {
    return this.#follow(await this.#ask(url))
  }

  /** Sends the page's form with these fields besides its hidden ones. */
  async submit({ url, body }: Shown, fields: Readonly<Record<string, string>>): Promise<Shown> {
    const [, action = ''] = /<form method="post" action="([^"]*)"/.exec(body) ?? []
    const form = new URLSearchParams(fields)
    for (const [input] of body.matchAll(/<input type="hidden"[^>]*>/g)) {
      const [, name = ''] = /name="([^"]*)"/.exec(input) ?? []
      const [, value = ''] = /value="([^"]*)"/.exec(input) ?? []
      form.set(name, plain(value))
    }
    return this.#follow(await this.#ask(new URL(plain(action), url).href, form))
  }

  async signIn(url: string, email: string, password: string): Promise<Shown> {
    const page = await this.open(url)
    return page.body.includes('name="password"') ? this.submit(page, { email, password }) : page
  }

  /** The `cookie` header for a hostname. */
  cookieOf(hostname: string): string {
    return [...(this.#cookies.get(hostname) ?? [])].map(([name, value]) => `${name}=${value}`).join('; ')
  }

  async #follow(answer: Answer): Promise<Shown> {
    let at = answer
    for (let step = 0; step < MOST_STEPS; step++) {
      const [, again] = /<meta http-equiv="refresh" content="0; url=([^"]*)"/.exec(at.body) ?? []
      const next = at.location ?? (again === undefined ? undefined : plain(again))
      if (next === undefined) return at
      at = await this.#ask(new URL(next, at.url).href)
    }
    throw new Error(`it goes on and on: ${this.history.slice(-3).join(' ')}`)
  }

  async #ask(url: string, form?: URLSearchParams): Promise<Answer> {
    const { hostname, origin, protocol } = new URL(url)
    this.history.push(url)
    if (protocol === 'http:') {
      const answer = await fetch(url)
      return { url, status: answer.status, body: await answer.text() }
    }
    const cookie = this.cookieOf(hostname)
    const headers = { ...(cookie !== '' && { cookie }), ...(form && { origin, 'content-type': FORM }) }
    const asked = form === undefined ? { headers } : { method: 'POST', headers, body: form.toString() }
    const { status, body, cookies, headers: answered } = await fetchTrusting(url, asked)
    for (const one of cookies) this.#keep(hostname, one)
    const { location } = answered
    return { url, status, body, ...(location !== undefined && { location }) }
  }

  #keep(hostname: string, line: string): void {
    const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
    const own = this.#cookies.get(hostname) ?? new Map<string, string>()
    this.#cookies.set(hostname, own)
    if (/; *max-age=0/i.test(line)) own.delete(name)
    else own.set(name, value)
  }
}

const FORM = 'application/x-www-form-urlencoded'

type Answer = Shown & { readonly location?: string }

/** Attribute text as it was meant. */
function plain(text: string): string {
  return text
    .replaceAll('&quot;', '"')
    .replaceAll('&#39;', "'")
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&amp;', '&')
}
