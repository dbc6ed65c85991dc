import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { PosternError } from '@postern/interface'
import type { Exchange } from '../front/exchange.ts'
import { addCookie, LOGIN_COOKIE, readCookie, TEAM_COOKIE } from './cookies.ts'
import { type Html, html } from './html.ts'

const LARGEST_FORM = 16_384
/** Milliseconds for the whole of it. */
const FORM_TIME = 15_000
/** Seconds that a number in a browser lasts, and with it the forms that hang on it: a page may lie open over lunch. */
const NONCE_AGE = 4 * 3600
/** 128 bits, base64url. */
const NONCE = /^[\w-]{22}$/
const FIELD = 'csrf'

/** The number of this browser; one is made and set where there is none. Whoever cannot read our cookies does not know it. */
export function browserNonce(exchange: Exchange): string {
  const there = readCookie(exchange.presented, LOGIN_COOKIE)
  if (there !== undefined && NONCE.test(there)) return there
  const known = FRESH.get(exchange)
  if (known !== undefined) return known
  const nonce = randomBytes(16).toString('base64url')
  FRESH.set(exchange, nonce)
  addCookie(exchange, LOGIN_COOKIE, nonce, NONCE_AGE)
  return nonce
}

const FRESH = new WeakMap<Exchange, string>()

/** The field that every form of ours carries: it fits this browser, and this sign-in, and no other. */
export function csrfField(exchange: Exchange): Html {
  return html`<input type="hidden" name="${FIELD}" value="${tokenOf(browserNonce(exchange), exchange)}">`
}

/**
 * The fields of a form of ours, from this very browser.
 *
 * @throws PosternError ACCESS_DENIED: another site’s doing, or a page that is too old; and what {@link readFields} throws
 */
export async function readForm(exchange: Exchange): Promise<URLSearchParams> {
  const { method, presented } = exchange
  if (method !== 'POST') throw badUsage('this wants a form that is sent')
  if (!isSameOrigin(exchange)) throw forged()
  const form = await readFields(exchange)
  const nonce = readCookie(presented, LOGIN_COOKIE)
  if (nonce === undefined || !NONCE.test(nonce)) throw forged()
  if (!isEqual(form.get(FIELD) ?? '', tokenOf(nonce, exchange))) throw forged()
  form.delete(FIELD)
  return form
}

/**
 * The fields of a form, whoever sends it. Nothing of the body is read before the headers say that it may be one.
 *
 * @throws PosternError BAD_USAGE (no form, a field twice), REQUEST_TOO_LARGE, TIMED_OUT
 */
export async function readFields({ presented, request, response, signal }: Exchange): Promise<URLSearchParams> {
  const [type = '', ...more] = presented.headers['content-type'] ?? []
  if (more.length > 0 || !/^application\/x-www-form-urlencoded *(;|$)/i.test(type)) {
    throw badUsage('the body must be application/x-www-form-urlencoded')
  }
  if (Number(presented.headers['content-length']?.[0] ?? 0) > LARGEST_FORM) throw tooLarge()
  if (presented.headers.expect !== undefined) response.writeContinue()
  const form = new URLSearchParams(await readBody(request, signal))
  if (new Set(form.keys()).size !== [...form.keys()].length) throw badUsage('a field came twice')
  return form
}

/**
 * Whether the request says that it comes from a page of this very origin. A browser says so with every form, and what does not say
 * it is none. Our pages send no referrer, so their forms have `Origin: null` (Fetch §3.2): then `Sec-Fetch-Site` decides.
 */
export function isSameOrigin({ presented }: Pick<Exchange, 'presented'>): boolean {
  const { origin = [], 'sec-fetch-site': site, host } = presented.headers
  const isOurs = origin.length === 1 && origin[0]?.toLowerCase() === originOf(host?.[0] ?? '')
  if (site === undefined) return isOurs
  return site.join() === 'same-origin' && (isOurs || origin.length === 0 || origin.join() === 'null')
}

function originOf(host: string): string {
  return `https://${host.toLowerCase().replace(/:443$/, '')}`
}

function tokenOf(nonce: string, { presented }: Exchange): string {
  // Keyed with the cookie itself: only this browser and the edge know it, and no other hostname can set it (RFC 6265bis §4.1.3.2).
  return createHmac('sha256', nonce)
    .update(`postern form\0${readCookie(presented, TEAM_COOKIE) ?? ''}`)
    .digest('base64url')
}

function isEqual(one: string, other: string): boolean {
  const [a, b] = [Buffer.from(one), Buffer.from(other)]
  return a.length === b.length && timingSafeEqual(a, b)
}

async function readBody(request: Exchange['request'], signal: AbortSignal): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  const late = AbortSignal.timeout(FORM_TIME)
  const stop = AbortSignal.any([signal, late])
  const left = () => request.destroy()
  stop.addEventListener('abort', left, { once: true })
  try {
    // Left open when it is left early: the answer still has to go out on its connection.
    for await (const chunk of request.iterator({ destroyOnReturn: false })) {
      size += (chunk as Buffer).length
      if (size > LARGEST_FORM) throw tooLarge()
      chunks.push(chunk as Buffer)
    }
    if (late.aborted) throw new PosternError('TIMED_OUT', 'the form did not arrive in time', { speaker: 'edge' })
  } catch (error) {
    throw PosternError.from(error, 'BAD_USAGE')
  } finally {
    stop.removeEventListener('abort', left)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function forged(): PosternError {
  return new PosternError('ACCESS_DENIED', 'this form was not sent from a current page of this site', {
    speaker: 'edge',
    next: 'Open the page again and send the form from there; cookies must be allowed.',
  })
}

function tooLarge(): PosternError {
  return new PosternError('REQUEST_TOO_LARGE', `the form is larger than ${LARGEST_FORM} bytes`, { speaker: 'edge' })
}

function badUsage(message: string): PosternError {
  return new PosternError('BAD_USAGE', message, { speaker: 'edge' })
}
