import { ServerResponse } from 'node:http'
import type { SentHeaders } from '@postern/interface'
import { type Exchange, isWorthReading } from '../front/exchange.ts'
import { type Html, html } from './html.ts'
import { STYLE, STYLE_HASH } from './style.ts'

export interface Page {
  readonly status: number
  /** Plain text, for the window; the page’s own heading is in `main`. */
  readonly title: string
  readonly main: Html
  /** For tables; the other pages are one narrow column. */
  readonly wide?: boolean
  /** Where the browser goes on to by itself, at once: an absolute URL. Say it in `main` too, as a link. */
  readonly goOn?: string
  /** Never `set-cookie`: {@link addCookie} does that. */
  readonly headers?: SentHeaders
}

/** What every answer of ours to a browser carries, redirects too. */
export const SAFE_HEADERS: SentHeaders = {
  'cache-control': 'no-store',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
}

/** No script, no frame, no picture, nothing from elsewhere; style by its hash alone. */
const POLICY = [
  "default-src 'none'",
  `style-src '${STYLE_HASH}'`,
  "form-action 'self'",
  "frame-ancestors 'none'",
  "base-uri 'none'",
].join('; ')

/** Answers with a whole page. Cookies that were added to the exchange’s response go with it. */
export function sendPage(exchange: Exchange, { status, title, main, wide, goOn, headers = {} }: Page): void {
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
${goOn === undefined ? undefined : html`<meta http-equiv="refresh" content="0; url=${goOn}">`}
<title>${title}</title>
<style>${STYLE_ELEMENT}</style>
</head>
<body>
<header>${MARK}<span>${exchange.hostname}</span></header>
<main${wide ? WIDE : undefined}>
<div class="card">
${main}
</div>
</main>
<footer>Guarded by Postern<br>Request <code>${exchange.requestId}</code></footer>
</body>
</html>
`
  const body = Buffer.from(page.toString())
  answer(exchange, status, {
    ...headers,
    'content-type': 'text/html; charset=utf-8',
    'content-length': String(body.length),
    'content-security-policy': POLICY,
    'x-frame-options': 'DENY',
  })
  if (exchange.method === 'HEAD') exchange.response.end()
  else exchange.response.end(body)
}

/** 303: the browser asks for `location` with GET, whatever it asked with before. */
export function sendRedirect(exchange: Exchange, location: string, headers: SentHeaders = {}): void {
  answer(exchange, 303, { ...headers, location, 'content-length': '0' })
  exchange.response.end()
}

/** 204, for machines that want no page. */
export function sendNothing(exchange: Exchange): void {
  answer(exchange, 204, {})
  exchange.response.end()
}

function answer({ response, requestId, request }: Exchange, status: number, headers: SentHeaders): void {
  const all: SentHeaders = { ...headers, ...SAFE_HEADERS, 'postern-request-id': requestId }
  for (const [name, value] of Object.entries(all))
    response.setHeader(name, typeof value === 'string' ? value : [...value])
  // Where nobody knows how a body ends, nobody knows where the next request begins.
  if (response instanceof ServerResponse && !isWorthReading(request)) response.shouldKeepAlive = false
  response.statusCode = status
}

/** A small arched door: a postern. */
const MARK = html`<svg width="20" height="24" viewBox="0 0 20 24" fill="none" stroke="currentColor" stroke-width="1.8" aria-hidden="true"><path d="M2 23V10a8 8 0 0 1 16 0v13"/><path d="M1 23h18"/><path d="M6 23V11a4 4 0 0 1 8 0v12"/><circle cx="12" cy="17" r=".6" fill="currentColor"/></svg>`
const WIDE = html` class="wide"`
/** Ours, and constant: it holds nothing that would end the element. */
const STYLE_ELEMENT = html(Object.assign([STYLE], { raw: [STYLE] }))
