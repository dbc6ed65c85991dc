import { type Code, factsOf, type Problem } from '@postern/interface'
import type { Exchange } from '../front/exchange.ts'
import { type Html, html } from './html.ts'
import { sendPage } from './page.ts'

/** What a person reads who asked for a page, where the catalogue’s words are for whoever runs the thing. */
const WORDS: Readonly<Partial<Record<Code, { readonly title: string; readonly next?: string }>>> = {
  BAD_USAGE: { title: 'This request is not valid' },
  ACCESS_DENIED: { title: 'This is not allowed' },
  REQUEST_TOO_LARGE: { title: 'This is too much at once' },
  NOT_FOUND: {
    title: 'There is nothing here',
    next: 'Check the address. If it is right, ask whoever gave it to you whether it still exists.',
  },
  TUNNEL_OFFLINE: {
    title: 'This application is not connected right now',
    next: 'Try again in a minute. If it stays, tell whoever runs it.',
  },
  INGRESS_NOT_FOUND: {
    title: 'This application is not set up yet',
    next: 'Tell whoever runs it that nothing is served under this name yet.',
  },
  ORIGIN_REFUSED: {
    title: 'This application is not running',
    next: 'Try again in a minute. If it stays, tell whoever runs it.',
  },
  ORIGIN_NOT_RESOLVED: {
    title: 'This application cannot be found in its own network',
    next: 'Tell whoever runs it; you can do nothing about it.',
  },
  ORIGIN_TIMEOUT: {
    title: 'This application takes too long to answer',
    next: 'Try again in a minute. If it stays, tell whoever runs it.',
  },
  ORIGIN_UNREACHABLE: {
    title: 'This application cannot be reached in its own network',
    next: 'Tell whoever runs it; you can do nothing about it.',
  },
  EDGE_UNAVAILABLE: { title: 'This cannot be done right now' },
  AUTH_REJECTED: { title: 'You could not be signed in', next: 'Try again. If it stays, tell whoever runs this.' },
  INTERNAL: { title: 'Something went wrong on our side', next: 'Try again. If it stays, tell whoever runs this.' },
  LOGIN_REQUIRED: { title: 'You are not signed in', next: 'Open the page again to sign in.' },
}

/** Where a person may go from here. */
export interface ProblemMore {
  readonly detail?: string
  readonly link?: { readonly href: string; readonly text: string }
}

/** A refusal, for somebody who asked for a page with a browser. */
export function sendProblemPage(
  exchange: Exchange,
  problem: Problem,
  { link = again(exchange, problem), detail }: ProblemMore = {},
): void {
  const words = WORDS[problem.code]
  const title = words?.title ?? problem.title
  // Where something more exact was said than the catalogue has, that is for the reader.
  const isExact = problem.next !== factsOf(problem.code).next
  const own = isExact ? undefined : words?.next
  const next = own ?? problem.next
  const said = detail ?? (own === undefined ? problem.detail : undefined)
  sendPage(exchange, {
    status: problem.status,
    title,
    main: html`<h1>${title}</h1>
${said === undefined ? undefined : html`<p>${sentence(said)}</p>`}
<p>${next}</p>
${link === undefined ? undefined : html`<a class="button" href="${link.href}">${link.text}</a>`}
${facts(problem)}`,
  })
}

/** What may be over by itself in a moment is worth asking for again, and so is what an old cookie was refused. */
function again({ isNavigation, target }: Exchange, { status }: Problem): ProblemMore['link'] {
  const isWorth = status === 401 || (status >= 502 && status <= 504)
  return isNavigation && isWorth ? { href: target, text: 'Try again' } : undefined
}

function facts({ code, status }: Problem): Html {
  return html`<dl class="hint"><dt>Code</dt><dd><code>${code}</code> (${status})</dd></dl>`
}

/** As a sentence: errors begin in lower case and end without a stop. */
export function sentence(text: string): string {
  const first = text.slice(0, 1).toUpperCase() + text.slice(1)
  return /[.!?]$/.test(first) ? first : `${first}.`
}
