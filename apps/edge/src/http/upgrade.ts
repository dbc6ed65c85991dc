import { createHash, randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { PosternError, problem, type SentHeaders } from '@postern/interface'
import type { ApplicationRecord } from '@postern/store'
import type { AccessAdmission } from '../authorize/authorize.ts'
import type { UpgradeExchange } from '../front/exchange.ts'
import { note, noteRefused } from '../ways/context.ts'
import { carry } from '../ways/stream.ts'
import { begin } from './ask.ts'
import type { HttpContext } from './context.ts'
import { WebSocketVisitor } from './frames.ts'
import { answerHeaders, pairsOf, requestHeaders } from './headers.ts'
import { failureOf } from './refuse.ts'
import { isOwnPath, saidFor, takePlace } from './serve.ts'
import { toldByDaemon } from './told.ts'

/**
 * Milliseconds an origin has to finish once the visitor closed, as for any other connection: a RST right behind our FIN could take
 * from it what it has not read yet.
 */
const FINISH_TIME = 30_000
/** RFC 6455 §1.3. */
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

/** A WebSocket for an application: decided as a request is, then bytes both ways. Never rejects. */
export async function serveHttpUpgrade(upgrade: UpgradeExchange, context: HttpContext): Promise<void> {
  const work = serve(upgrade, context).catch((error: unknown) => {
    const { requestId } = upgrade
    if (!PosternError.is(error)) context.log.error('an upgrade failed', { requestId, error: String(error) })
    if (!upgrade.signal.aborted) upgrade.refuse(failureOf(error, requestId))
  })
  context.carried.add(work)
  await work
  context.carried.delete(work)
}

async function serve(upgrade: UpgradeExchange, context: HttpContext): Promise<void> {
  const { requestId, presented, signal } = upgrade
  const { authorizer, log } = context
  if (context.draining()) return upgrade.refuse(problem('DRAINING', requestId, { speaker: 'edge' }))
  const outcome = await authorizer.access({ purpose: 'http', presented, requestId }, { log, signal })
  if ('refused' in outcome) {
    return upgrade.refuse(outcome.refused.problem, outcome.refused.headers)
  }
  const { admitted } = outcome
  if (!admitted.application.protocols.includes('http')) {
    const detail = 'this application is not reached over HTTP'
    return upgrade.refuse(problem('BAD_USAGE', requestId, { speaker: 'edge', detail }))
  }
  if (isOwnPath(upgrade.target)) {
    const detail = 'there is no such page'
    return upgrade.refuse(problem('NOT_FOUND', requestId, { speaker: 'edge', detail }))
  }
  if (!isFromItsOwnPage(upgrade, admitted.application, context)) {
    noteRefused(context, admitted, 'ACCESS_DENIED')
    const detail = 'a page of another origin may not open a WebSocket here'
    const next = 'Ask the application’s administrator to allow the page’s origin for upgrades.'
    return upgrade.refuse(problem('ACCESS_DENIED', requestId, { speaker: 'edge', detail, next }))
  }
  return carryUpgrade(upgrade, admitted, context)
}

/**
 * A browser sends a person's cookies along with whatever page opens a WebSocket, and lets that page read it: only pages of the
 * application itself may, and those it names. Who sends no Origin is no browser, unless a cookie says otherwise.
 */
function isFromItsOwnPage(
  { presented: { headers }, hostname }: UpgradeExchange,
  { options }: ApplicationRecord,
  { origins }: HttpContext,
): boolean {
  const { origin, cookie = [] } = headers
  if (origin === undefined) return !cookie.some(one => one.includes('__Host-postern-session='))
  const [from = '', ...more] = origin
  return more.length === 0 && (from === origins.of(hostname) || options?.upgradeOrigins?.includes(from) === true)
}

async function carryUpgrade(upgrade: UpgradeExchange, admission: AccessAdmission, context: HttpContext): Promise<void> {
  const { live, store } = context
  const stop = new AbortController()
  const forget = live.keepAccess(admission, reason => stop.abort(reason))
  let timer: NodeJS.Timeout | undefined
  try {
    const opening = AbortSignal.any([upgrade.signal, stop.signal])
    using _place = await takePlace(admission, context, opening)
    const answer = await handshake(upgrade, admission, context, opening)
    if ('refused' in answer) {
      note(store, admission, { action: 'stream.refused', allowed: false, code: answer.refused })
      return
    }
    const visitor = new WebSocketVisitor(upgrade.accept(answer.headers), context.http.limits.lastWord)
    visitor.once('end', () => {
      timer = setTimeout(() => stop.abort(new Error('the visitor closed and the service went on')), FINISH_TIME)
    })
    // From here on its own end is no abort: what was said last is still to arrive.
    await carry(visitor, answer.stream, admission, context, AbortSignal.any([context.signal, stop.signal]))
  } catch (error) {
    if (upgrade.signal.aborted) return
    const failure = failureOf(error, upgrade.requestId)
    noteRefused(context, admission, failure.code, error)
    upgrade.refuse(failure)
  } finally {
    clearTimeout(timer)
    forget()
  }
}

type Handshake =
  | { readonly headers: readonly string[]; readonly stream: Duplex }
  | { readonly refused: 'ORIGIN_FAILED' }

/**
 * Asks the origin for the WebSocket, over a stream of its own. What it answers instead of 101 is told to the visitor by its status,
 * and nothing more is heard of it.
 *
 * @throws what opening a stream throws; PosternError ORIGIN_TIMEOUT, ORIGIN_FAILED; `signal.reason`
 */
async function handshake(
  upgrade: UpgradeExchange,
  admission: AccessAdmission,
  context: HttpContext,
  signal: AbortSignal,
): Promise<Handshake> {
  const { pools, limits } = context.http
  const said = { ...(await saidFor(upgrade, admission, context)), upgrade: true }
  const key = upgrade.presented.headers['sec-websocket-key']?.[0] ?? randomBytes(16).toString('base64')
  const own = upgrade.version === '2' ? ['Sec-WebSocket-Key', key] : []
  const headers = [...requestHeaders(upgrade.headers, said), ...own]
  const agent = pools.single(admission.application)
  const request = begin(upgrade, { agent, headers, framing: 'none', signal, limits })
  const { promise, resolve, reject } = Promise.withResolvers<Handshake>()
  const fail = (error: Error) => {
    reject(error)
    request.destroy(error)
  }
  const onAbort = () => fail(signal.reason as Error)
  signal.addEventListener('abort', onAbort)
  const late = setTimeout(() => fail(tooLate()), limits.answerTime)
  request.on('error', reject)
  request.once('upgrade', (answer, stream, head) => {
    if (!isAccepted(answer, key)) return void stream.destroy(notAccepted()).once('error', reject)
    if (head.length > 0) stream.unshift(head)
    resolve({ headers: answerHeaders(answer.rawHeaders).headers, stream })
  })
  request.once('response', answer => {
    const told = toldByDaemon(answer)
    if (told !== undefined) return fail(told)
    request.destroy()
    upgrade.refuse(...refusalOf(answer, upgrade.requestId))
    resolve({ refused: 'ORIGIN_FAILED' })
  })
  request.end()
  try {
    return await promise
  } finally {
    clearTimeout(late)
    signal.removeEventListener('abort', onAbort)
  }
}

function isAccepted({ statusCode, headers }: IncomingMessage, key: string): boolean {
  const accept = createHash('sha1').update(`${key}${GUID}`).digest('base64')
  const isWebSocket = headers.upgrade?.toLowerCase() === 'websocket'
  return statusCode === 101 && isWebSocket && headers['sec-websocket-accept'] === accept
}

/** What a client can act on of an answer that is no WebSocket. */
const TOLD: ReadonlySet<string> = new Set(['www-authenticate', 'location', 'retry-after', 'sec-websocket-version'])

function refusalOf({ statusCode = 502, rawHeaders }: IncomingMessage, requestId: string) {
  const detail = `the service answered ${statusCode} instead of opening a WebSocket`
  const refusal = problem('ORIGIN_FAILED', requestId, { speaker: 'service', detail })
  const headers = pairsOf(answerHeaders(rawHeaders).headers).filter(([name]) => TOLD.has(name.toLowerCase()))
  const status = statusCode >= 300 && statusCode <= 599 ? statusCode : 502
  return [{ ...refusal, status }, Object.fromEntries(headers) as SentHeaders] as const
}

function notAccepted(): PosternError {
  return new PosternError('ORIGIN_FAILED', 'the service’s answer opens no WebSocket', { speaker: 'service' })
}

function tooLate(): PosternError {
  return new PosternError('ORIGIN_TIMEOUT', 'the service did not answer in time', { speaker: 'service' })
}
