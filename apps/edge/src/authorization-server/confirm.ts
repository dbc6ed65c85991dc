import { PosternError } from '@postern/interface'
import type { InteractionResults, Provider } from 'oidc-provider'
import type { Exchange } from '../front/exchange.ts'
import type { SessionRecord } from '../sign-in/session-record.ts'
import { csrfField, readForm } from '../team/form.ts'
import { html } from '../team/html.ts'
import { sendPage } from '../team/page.ts'
import { methodNotAllowed } from '../team/site.ts'
import { approve, mustAdminister, wantedApplication, wantsAdministration } from './approval.ts'
import type { AuthorizationServerParts } from './needs.ts'
import { type Asked, administers, choice, nameOf, opensApplications } from './pages.ts'
import { ADMINISTRATION_AGE, PATHS } from './words.ts'

type Interaction = Awaited<ReturnType<Provider['interactionDetails']>>

/**
 * The question after a program on the person's own computer has opened the browser. Being signed in never answers it: any program
 * can say that it is ours (RFC 8252 §8.6).
 */
export class ConfirmPage {
  readonly #parts: AuthorizationServerParts
  readonly #provider: Provider

  constructor(parts: AuthorizationServerParts, provider: Provider) {
    this.#parts = parts
    this.#provider = provider
  }

  async serve(exchange: Exchange, uid: string): Promise<void> {
    const { method } = exchange
    if (method !== 'GET' && method !== 'HEAD' && method !== 'POST') return methodNotAllowed(exchange, 'GET', 'POST')
    const interaction = await this.#interaction(exchange, uid)
    const administration = wantsAdministration(this.#parts, interaction.params.resource)
    const session = this.#parts.signIn.require(exchange, {
      returnTo: PATHS.interaction + uid,
      ...(administration && { maxAgeSeconds: ADMINISTRATION_AGE }),
      ...(isToSignInAgain(interaction) && { maxAgeSeconds: secondsSince(interaction.iat) }),
    })
    if (session === undefined) return
    if (administration) mustAdminister(this.#parts, session)
    if (method === 'POST') await this.#answer(exchange, interaction, session)
    else this.#ask(exchange, interaction, session)
  }

  /** @throws PosternError NOT_FOUND: over, or begun in another browser */
  async #interaction({ request, response }: Exchange, uid: string): Promise<Interaction> {
    const interaction = await this.#provider.interactionDetails(request, response).catch(() => undefined)
    if (interaction?.uid === uid) return interaction
    throw new PosternError('NOT_FOUND', 'this sign-in is over, or was begun in another browser', {
      speaker: 'edge',
      next: 'Start again from the program that opened this page.',
    })
  }

  #ask(exchange: Exchange, { params, uid }: Interaction, { person }: SessionRecord): void {
    const asked = this.#asked(params.resource)
    const { host } = new URL(String(params.redirect_uri))
    sendPage(exchange, {
      status: 200,
      title: asked.title,
      main: html`<h1>${asked.heading ?? asked.title}</h1>
<p>A program on this computer says that it is Postern’s command line, and ${asked.wants}.</p>
<dl>
<dt>You are</dt><dd>${nameOf(person)}</dd>
<dt>Answer goes to</dt><dd>this computer, <code>${host}</code></dd>
${asked.place}
</dl>
<p>${asked.may}</p>
${choice(PATHS.interaction + uid, csrfField(exchange), asked.yes)}
<p class="hint">Not you? <a href="/logout">Sign out</a> first.</p>`,
    })
  }

  #asked(resource: unknown): Asked {
    if (wantsAdministration(this.#parts, resource)) return administers(this.#parts.origins.team)
    const asked = opensApplications(wantedApplication(this.#parts, resource))
    const heading = html`Let the <code>postern</code> command in?`
    return { ...asked, title: 'Let the postern command in?', heading, yes: 'Yes, sign in' }
  }

  async #answer(exchange: Exchange, interaction: Interaction, session: SessionRecord): Promise<void> {
    const form = await readForm(exchange)
    if (interaction.result !== undefined) throw answeredAlready()
    const answer = form.get('answer')
    if (answer !== 'yes' && answer !== 'no')
      throw new PosternError('BAD_USAGE', 'answer is yes or no', { speaker: 'edge' })
    const result = answer === 'yes' ? await this.#approve(exchange, session, interaction) : REFUSED
    const { request, response } = exchange
    const goOn = await this.#provider.interactionResult(request, response, result, { mergeWithLastSubmission: false })
    // Not a redirect: browsers hold those of a form to this site too, and the program listens elsewhere.
    sendPage(exchange, {
      status: 200,
      title: 'Back to the program',
      goOn,
      main: html`<h1>Back to the program</h1>
<p>This page goes on by itself; else <a href="${goOn}">go on here</a>.</p>`,
    })
  }

  async #approve(exchange: Exchange, browser: SessionRecord, { params }: Interaction): Promise<InteractionResults> {
    const { remoteAddress } = exchange.presented
    const { sessionId, grantId } = await approve(this.#parts, this.#provider, browser, exchange, {
      via: 'cli',
      ...(wantsAdministration(this.#parts, params.resource) && { for: 'administration' }),
      remoteAddress,
    })
    const ts = Math.floor(browser.authenticatedAt / 1000)
    return { login: { accountId: sessionId, remember: false, ts }, consent: { grantId } }
  }
}

const REFUSED: InteractionResults = { error: 'access_denied', error_description: 'the person refused' }

/** Whether the program wants the person to prove who they are once more. */
function isToSignInAgain({ params }: Interaction): boolean {
  return typeof params.prompt === 'string' && params.prompt.split(' ').includes('login')
}

/** Rounded up: whoever proved it after the program asked is never asked once more. */
function secondsSince(epochSeconds: number): number {
  return Math.max(0, Math.floor(Date.now() / 1000) - epochSeconds) + 1
}

function answeredAlready(): PosternError {
  return new PosternError('NOT_FOUND', 'this was answered already', {
    speaker: 'edge',
    next: 'Look at the program that asked; start again from there.',
  })
}
