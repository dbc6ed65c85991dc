import { PosternError } from '@postern/interface'
import type { Provider } from 'oidc-provider'
import { countedAddress } from '../front/address.ts'
import type { Exchange } from '../front/exchange.ts'
import type { SessionRecord } from '../sign-in/session-record.ts'
import { csrfField, readForm } from '../team/form.ts'
import { html } from '../team/html.ts'
import { sendPage } from '../team/page.ts'
import { methodNotAllowed } from '../team/site.ts'
import { approve, mustAdminister, wantedApplication, wantsAdministration } from './approval.ts'
import type { DeviceInfo } from './configuration.ts'
import type { AuthorizationServerParts } from './needs.ts'
import { type Asked, administers, choice, nameOf, opensApplications, plainPage } from './pages.ts'
import { ADMINISTRATION_AGE, PATHS, SCOPE } from './words.ts'

type DeviceCode = NonNullable<Awaited<ReturnType<Provider['DeviceCode']['findByUserCode']>>>

/** Codes of one person, or from one address, that may be wrong in a minute. One in 25,600,000,000 is right, for ten minutes. */
const MOST_WRONG = 10
/** Eight letters, as they are made; people leave out the hyphen, or put in spaces. */
const USER_CODE = /^[A-Z]{8}$/

/**
 * Signing in a machine without a browser (RFC 8628): the person types its code, is shown who asks, and says so. Nothing in an
 * address is taken for a code, so that no link that somebody sends does any of it.
 */
export class DevicePage {
  readonly #parts: AuthorizationServerParts
  readonly #provider: Provider

  constructor(parts: AuthorizationServerParts, provider: Provider) {
    this.#parts = parts
    this.#provider = provider
  }

  async serve(exchange: Exchange): Promise<void> {
    const { method } = exchange
    if (method !== 'GET' && method !== 'HEAD' && method !== 'POST') return methodNotAllowed(exchange, 'GET', 'POST')
    const session = this.#parts.signIn.require(exchange, { returnTo: PATHS.device })
    if (session === undefined) return
    if (method !== 'POST') return askForCode(exchange, session)
    const form = await readForm(exchange)
    const code = await this.#find(exchange, session, form.get('user_code') ?? '')
    if (code === undefined)
      return askForCode(exchange, session, 'That code is not right, or is over. Look at it again.')
    const administration = wantsAdministration(this.#parts, code.params?.resource)
    if (administration) {
      const how = { returnTo: PATHS.device, maxAgeSeconds: ADMINISTRATION_AGE }
      if (this.#parts.signIn.require(exchange, how) === undefined) return
      mustAdminister(this.#parts, session)
    }
    const answer = form.get('answer')
    if (answer === 'yes') await this.#approve(exchange, session, code)
    else if (answer === 'no') await refuse(exchange, code)
    else if (administration) askToApprove(exchange, session, code, administers(this.#parts.origins.team))
    else askToApprove(exchange, session, code, opensApplications(wantedApplication(this.#parts, code.params?.resource)))
  }

  /** @throws PosternError RATE_LIMITED */
  async #find(exchange: Exchange, session: SessionRecord, typed: string): Promise<DeviceCode | undefined> {
    const { failures } = this.#parts
    const { issuer, subject } = session.person
    const keys = [`${issuer} ${subject}`, countedAddress(exchange.presented.remoteAddress)].map(key => `device\0${key}`)
    if (keys.some(key => failures.isOver(key, MOST_WRONG)))
      throw new PosternError('RATE_LIMITED', 'too many codes were wrong', { speaker: 'edge' })
    const normal = typed.replace(/[\s-]/g, '').toUpperCase()
    const found = USER_CODE.test(normal) ? await this.#provider.DeviceCode.findByUserCode(normal) : undefined
    if (found !== undefined && isOpen(found)) return found
    for (const key of keys) failures.count(key)
    return undefined
  }

  async #approve(exchange: Exchange, browser: SessionRecord, code: DeviceCode): Promise<void> {
    code.inFlight = true
    await code.save()
    const { address, userAgent } = code.deviceInfo as unknown as DeviceInfo
    const { sessionId, grantId } = await approve(this.#parts, this.#provider, browser, exchange, {
      via: 'device',
      ...(wantsAdministration(this.#parts, code.params?.resource) && { for: 'administration' }),
      remoteAddress: address,
      userAgent,
    })
    const authTime = Math.floor(browser.authenticatedAt / 1000)
    await save(code, { accountId: sessionId, grantId, scope: SCOPE, authTime })
    sendPage(exchange, plainPage('It is signed in', 'The program goes on by itself. You can close this page.'))
  }
}

async function refuse(exchange: Exchange, code: DeviceCode): Promise<void> {
  await save(code, { error: 'access_denied', errorDescription: 'the person refused' })
  sendPage(exchange, plainPage('Refused', 'Nothing was signed in. You can close this page.'))
}

async function save(code: DeviceCode, said: Partial<DeviceCode>): Promise<void> {
  Object.assign(code, said)
  await code.save()
}

function isOpen({ error, accountId, inFlight, consumed }: DeviceCode): boolean {
  return !error && !accountId && !inFlight && !consumed
}

function askForCode(exchange: Exchange, { person }: SessionRecord, wrong?: string): void {
  const invalid = wrong === undefined ? undefined : INVALID
  sendPage(exchange, {
    status: wrong === undefined ? 200 : 400,
    title: 'Sign in a device',
    main: html`<h1>Sign in a device</h1>
<p>You are ${nameOf(person)}. Type the code that the program shows.</p>
<form method="post" action="${PATHS.device}">
${csrfField(exchange)}
<label for="user_code">Code</label>
<input id="user_code" name="user_code" autocomplete="off" autocapitalize="characters" spellcheck="false" maxlength="12" placeholder="XXXX-XXXX" required${invalid}>
${wrong && html`<p class="error" id="wrong">${wrong}</p>`}
<button type="submit">Go on</button>
</form>
<p class="hint">Never type a code that somebody sent you: it would let them in as you.</p>`,
  })
}

function askToApprove(exchange: Exchange, { person }: SessionRecord, code: DeviceCode, asked: Asked): void {
  const { address, userAgent } = code.deviceInfo as unknown as DeviceInfo
  const shown = `${code.userCode.slice(0, 4)}-${code.userCode.slice(4)}`
  const hidden = html`${csrfField(exchange)}<input type="hidden" name="user_code" value="${shown}">`
  sendPage(exchange, {
    status: 200,
    title: asked.title,
    main: html`<h1>${asked.title}</h1>
<p>A program on another machine says that it is Postern’s, and ${asked.wants}.</p>
<dl>
<dt>You are</dt><dd>${nameOf(person)}</dd>
<dt>Code</dt><dd><code>${shown}</code></dd>
<dt>It asks from</dt><dd><code>${address}</code></dd>
${userAgent && html`<dt>Calls itself</dt><dd>${userAgent}</dd>`}
${asked.place}
</dl>
<p>${asked.may}</p>
${choice(PATHS.device, hidden, asked.yes)}`,
  })
}

const INVALID = html` aria-invalid="true" aria-describedby="wrong"`
