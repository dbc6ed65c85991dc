import { PosternError, type Problem } from '@postern/interface'
import type { Exchange } from '../front/exchange.ts'
import { LOGIN_COOKIE, readCookie } from '../team/cookies.ts'
import { browserNonce, readForm } from '../team/form.ts'
import { sendNothing, sendRedirect } from '../team/page.ts'
import { methodNotAllowed, pathOf, queryOf, type Room } from '../team/site.ts'
import { refusalOf } from '../ways/context.ts'
import type { Hop } from './hop.ts'
import { sendLoginPage } from './login-page.ts'
import type { SignInParts } from './parts.ts'
import { ProviderLogout } from './provider-logout.ts'
import { usersOf } from './users.ts'
import { asWanted, HOME, type Wanted } from './wanted.ts'
import { nameOf } from './who.ts'

/** `/login` and below: where people prove who they are, here or with a provider. */
export class LoginRoom implements Room {
  readonly #parts: SignInParts
  readonly #hop: Hop
  readonly #logout: ProviderLogout

  constructor(parts: SignInParts, hop: Hop) {
    this.#parts = parts
    this.#hop = hop
    this.#logout = new ProviderLogout(parts)
  }

  match(path: string): boolean {
    return path === '/login' || path.startsWith('/login/')
  }

  async serve(exchange: Exchange): Promise<void> {
    const { method } = exchange
    const isGet = method === 'GET' || method === 'HEAD'
    const [, , step, id = '', ...more] = pathOf(exchange).split('/')
    if (step === undefined && isGet) return this.#show(exchange)
    if (step === undefined && method === 'POST') return this.#password(exchange)
    if (step === undefined) return methodNotAllowed(exchange, 'GET', 'POST')
    const provider = this.#parts.providers.get(more.length > 0 ? '' : decoded(id))
    if (step === 'ended')
      return method === 'POST' ? this.#ended(exchange, provider.id) : methodNotAllowed(exchange, 'POST')
    if (!isGet) return methodNotAllowed(exchange, 'GET')
    if (step === 'with') return this.#leave(exchange, provider.id)
    if (step === 'callback') return this.#returned(exchange, provider.id)
    throw new PosternError('NOT_FOUND', 'there is no such page', { speaker: 'edge' })
  }

  #show(exchange: Exchange): void {
    const { ticket, wanted } = this.#wanted(queryOf(exchange).get('state'))
    const session = this.#hop.current(exchange)
    if (session !== undefined && this.#hop.isEnough(session, wanted)) {
      const url = this.#hop.next(exchange, session, wanted)
      if (url !== undefined) sendRedirect(exchange, url)
      return
    }
    const [only, ...others] = this.#parts.providers.list()
    if (only === undefined || others.length > 0 || this.#hasDirectory) this.#page(exchange, ticket, wanted)
    else sendRedirect(exchange, `/login/with/${encodeURIComponent(only.id)}?state=${ticket}`)
  }

  #page(
    exchange: Exchange,
    state: string,
    wanted: Wanted,
    failed?: { status: number; message: string; email: string },
  ): void {
    const session = this.#hop.current(exchange)
    sendLoginPage(exchange, {
      to: this.#hop.nameOf(wanted),
      now: session && nameOf(session.person),
      providers: this.#parts.providers.list(),
      hasDirectory: this.#hasDirectory,
      state,
      ...(failed && { failed }),
    })
  }

  async #password(exchange: Exchange): Promise<void> {
    const form = await readForm(exchange)
    const { ticket, wanted } = this.#wanted(form.get('state'))
    const [email, password] = [form.get('email') ?? '', form.get('password') ?? '']
    const { requestId, presented, signal } = exchange
    const asking = { requestId, signal, remoteAddress: presented.remoteAddress }
    try {
      const person = await this.#parts.directory.verify({ email, password }, asking)
      if (person !== undefined) return await this.#hop.signedIn(exchange, person, wanted)
    } catch (error) {
      const refusal = refusalOf(error, requestId)
      if (refusal.status !== 429) throw error
      return this.#failed(exchange, ticket, wanted, { ...refusal, title: `Too many attempts. ${refusal.next}` }, email)
    }
    const wrong: Problem = { ...refusalOf(WRONG, requestId), status: 403 }
    this.#failed(exchange, ticket, wanted, wrong, email)
  }

  /** The same for whom nobody knows and for whom somebody does. */
  #failed(exchange: Exchange, ticket: string, wanted: Wanted, { code, status, title }: Problem, email: string): void {
    const { requestId, presented } = exchange
    const { store, authorizer } = this.#parts
    const { remoteAddress } = presented
    // Not which account: what people type there may be a password.
    if (authorizer.isKnockNoted(remoteAddress, undefined))
      store.audit({ at: Date.now(), action: 'session.refused', requestId, remoteAddress, allowed: false, code })
    const message = code === 'RATE_LIMITED' ? title : 'Email or password is not right. Try again.'
    this.#page(exchange, ticket, wanted, { status, message, email })
  }

  async #leave(exchange: Exchange, id: string): Promise<void> {
    const { wanted } = this.#wanted(queryOf(exchange).get('state'))
    const maxAge = this.#hop.maxAgeFor(wanted)
    const url = await this.#parts.providers.start(id, { wanted, nonce: browserNonce(exchange), maxAge })
    sendRedirect(exchange, url.href)
  }

  async #returned(exchange: Exchange, id: string): Promise<void> {
    const { providers, origins } = this.#parts
    queryOf(exchange)
    const url = new URL(exchange.target, origins.team)
    const nonce = readCookie(exchange.presented, LOGIN_COOKIE)
    const { person, wanted, ...proved } = await providers.finish(id, url, nonce)
    await this.#hop.signedIn(exchange, person, wanted, proved)
  }

  async #ended(exchange: Exchange, id: string): Promise<void> {
    await this.#logout.take(exchange, this.#parts.providers.get(id))
    sendNothing(exchange)
  }

  /** @throws PosternError BAD_USAGE: altered or too old */
  #wanted(state: string | null): { readonly ticket: string; readonly wanted: Wanted } {
    if (state === null) return { ticket: this.#hop.ticketOf(HOME), wanted: HOME }
    return { ticket: state, wanted: asWanted(this.#parts.tickets.read('login', state)) }
  }

  get #hasDirectory(): boolean {
    return usersOf(this.#parts.store.snapshot).size > 0
  }
}

const WRONG = new PosternError('AUTH_REJECTED', 'email or password is not right', { speaker: 'edge' })

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    return ''
  }
}
