import { randomUUID } from 'node:crypto'
import { ServerResponse } from 'node:http'
import { BASE, type Input, ROUTES, type Route, type RouteName } from '@postern/admin'
import {
  type Code,
  type Json,
  type Logger,
  PosternError,
  type Presented,
  type Problem,
  problem,
  type SentHeaders,
} from '@postern/interface'
import type { Store } from '@postern/store'
import type { FailureCounter } from '../authorize/attempts.ts'
import { countedAddress } from '../front/address.ts'
import { type Exchange, sendHead } from '../front/exchange.ts'
import type { Administration } from './administration.ts'
import { type Caller, identify, identifyPerson, isSignedToken, LOCAL, type PersonParts, standingOf } from './caller.ts'
import { parseStrictly } from './json.ts'
import { type Found, findRoute, readQuery } from './target.ts'

/** Bytes of a body. */
const LARGEST_BODY = 65_536
/** The whole document, and a CA's list of what it revoked, are large. */
const LARGER: Readonly<Partial<Record<RouteName, number>>> = { 'access.apply': 1_048_576, 'crl.put': 4_194_304 }
/** Milliseconds without progress until somebody who does not read the answer is left. */
const ANSWER_TIME = 30_000

/** One request for the API, and the ways to answer it. */
export interface AdminRequest {
  readonly request: Exchange['request']
  readonly response: Exchange['response']
  readonly presented: Presented
  /** Whether whoever shows no token is the local administrator. */
  readonly local: boolean
  /** Answers with a problem; a body that was not read does not become somebody's next request. */
  refuse(problem: Problem, headers: SentHeaders): void
}

export interface AdminHttpOptions {
  readonly administration: Administration
  readonly store: Store
  readonly failures: FailureCounter
  /** For people whose programs administer. */
  readonly keys: PersonParts['keys']
  readonly people: PersonParts['people']
  readonly origins: { readonly team: string }
  /** Whether one more refusal leaves an audit row. */
  readonly isKnockNoted: (remoteAddress: string, actor: string | undefined) => boolean
  readonly log: Logger
  /** Milliseconds for a body to come. */
  readonly bodyTime: number
}

/** The API over HTTP, one request at a time. Nothing of a body is read before it is known who asks, and that they may. */
export class AdminHttp {
  readonly #options: AdminHttpOptions

  constructor(options: AdminHttpOptions) {
    this.#options = options
  }

  /** Never rejects. */
  async serve(asked: AdminRequest): Promise<void> {
    const requestId = randomUUID()
    let caller: Caller | undefined
    try {
      caller = await this.#identify(asked)
      const answer = await this.#answer(asked, caller, requestId)
      send(asked, answer, requestId)
    } catch (error) {
      this.#refuse(asked, error, requestId, caller)
    }
  }

  async #identify({ presented, local }: AdminRequest): Promise<Caller> {
    const [sent, ...more] = presented.headers.authorization ?? []
    if (more.length > 0) throw badUsage('exactly one Authorization header is wanted')
    if (sent === undefined && local) return LOCAL
    if (sent === undefined) throw new PosternError('LOGIN_REQUIRED', 'no admin token was presented', { next: GIVE_ONE })
    const [, bearer] = /^bearer ([!-~]+)$/i.exec(sent) ?? []
    const { keys, people, origins, store } = this.#options
    const at = { snapshot: store.snapshot, now: Date.now() }
    if (bearer !== undefined && isSignedToken(bearer))
      return identifyPerson(bearer, { keys, people, audience: origins.team, ...at })
    return identify(bearer ?? '', at.snapshot, at.now)
  }

  async #answer(asked: AdminRequest, caller: Caller, requestId: string): Promise<unknown> {
    const { administration, bodyTime } = this.#options
    const { method, url, remoteAddress } = asked.presented
    const { name, params } = found(method, url, caller)
    administration.authorize(name, caller)
    const route: Route = ROUTES[name]
    if (route.query === undefined && url.includes('?')) throw badUsage('this route takes no query')
    const body = await readBody(asked, name, bodyTime)
    const input = { params, query: readQuery(url), body } as unknown as Input<RouteName>
    return administration.call(name, input, caller, {
      requestId,
      ...(remoteAddress !== '' && { remoteAddress }),
    })
  }

  #refuse(asked: AdminRequest, thrown: unknown, requestId: string, caller: Caller | undefined): void {
    const error = PosternError.from(thrown)
    const { failures, log } = this.#options
    const { remoteAddress } = asked.presented
    let { code } = error
    if (error.code === 'INTERNAL') log.error('an administration request failed', { requestId, error: String(thrown) })
    if (code === 'AUTH_REJECTED') {
      // Whoever has a good token never comes here, so nobody is locked out by others' guesses.
      const key = `admin-guess\0${countedAddress(remoteAddress)}`
      if (failures.isOver(key)) code = 'RATE_LIMITED'
      failures.count(key)
    }
    const refusal = problemOf(error, code, requestId)
    if (refusal.status === 401 || refusal.status === 403 || refusal.status === 429)
      this.#note(refusal, asked.presented, caller)
    asked.refuse(refusal, { ...SAFE, ...(refusal.status === 401 && { 'www-authenticate': 'Bearer' }) })
  }

  #note({ code, requestId }: Problem, { method, remoteAddress }: Presented, caller: Caller | undefined): void {
    const { store, isKnockNoted } = this.#options
    const actor = caller === undefined ? undefined : actorOf(caller, store)
    if (!isKnockNoted(remoteAddress, actor)) return
    const [action, allowed, detail] = ['admin.refused', false, { method }]
    store.audit({ at: Date.now(), action, actor, requestId, remoteAddress, allowed, code, detail })
  }
}

const GIVE_ONE = 'Give an admin token, as “Authorization: Bearer …”.'
const SAFE: SentHeaders = { 'x-content-type-options': 'nosniff' }

/** For a stranger, and a setup token is one nearly everywhere, no path is different from another. */
function found(method: string, url: string, caller: Caller): Found {
  try {
    return findRoute(method, url)
  } catch (error) {
    if (caller.kind === 'setup-token' || caller.kind === 'connector-setup')
      throw new PosternError('AUTH_REJECTED', 'the token was not accepted')
    throw error
  }
}

async function readBody(
  { request, response, presented }: AdminRequest,
  name: RouteName,
  time: number,
): Promise<Json | undefined> {
  const route: Route = ROUTES[name]
  const { 'content-length': [length] = [], 'content-type': [type = ''] = [], expect } = presented.headers
  if (route.body === undefined) {
    const announced = presented.headers['transfer-encoding'] !== undefined || Number(length ?? 0) !== 0
    // Over HTTP/2 a body need not be announced.
    if (announced || (length === undefined && !isAtEnd(request))) throw badUsage('this route takes no body')
    return undefined
  }
  if (!/^application\/json *(;|$)/i.test(type)) throw badUsage('the body must be application/json')
  const most = LARGER[name] ?? LARGEST_BODY
  if (Number(length ?? 0) > most) throw tooLarge(most)
  if (expect !== undefined) response.writeContinue()
  return parseStrictly(await readAll(request, most, time))
}

function isAtEnd(request: Exchange['request']): boolean {
  return !('stream' in request) || request.stream.endAfterHeaders
}

async function readAll(request: Exchange['request'], most: number, time: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  const timer = setTimeout(() => request.destroy(new PosternError('TIMED_OUT', 'the body did not come in time')), time)
  try {
    // Left open when it is left early: the answer still has to go out on its connection.
    for await (const chunk of request.iterator({ destroyOnReturn: false })) {
      size += (chunk as Buffer).length
      if (size > most) throw tooLarge(most)
      chunks.push(chunk as Buffer)
    }
  } catch (error) {
    throw PosternError.from(error, 'BAD_USAGE')
  } finally {
    clearTimeout(timer)
  }
  return Buffer.concat(chunks)
}

function send({ response, local }: AdminRequest, answer: unknown, requestId: string): void {
  const body = answer === undefined ? undefined : Buffer.from(JSON.stringify(answer))
  response.on('error', () => {})
  response.setTimeout(ANSWER_TIME, () => {
    if (response instanceof ServerResponse) response.destroy()
    else response.stream.destroy(new Error('nobody takes the answer'))
  })
  sendHead(response, body === undefined ? 204 : 200, {
    ...SAFE,
    'cache-control': 'no-store',
    'postern-request-id': requestId,
    ...(local && { connection: 'close' }),
    ...(body && { 'content-type': 'application/json', 'content-length': body.length }),
  })
  if (body === undefined) response.end()
  else response.end(body)
}

function problemOf(error: PosternError, code: Code, requestId: string): Problem {
  const said = problem(code, requestId, {
    speaker: 'edge',
    ...(code === error.code && !SILENT.includes(code) && { detail: error.message, next: error.next }),
  })
  const isGeneral = said.next === problem('BAD_USAGE', requestId).next
  if (code === 'BAD_USAGE' && isGeneral)
    return { ...said, next: `Correct the request; GET ${BASE}/openapi.json describes it.` }
  if (code === 'NOT_FOUND') return { ...said, title: 'There is no such thing' }
  if (code === 'REQUEST_TOO_LARGE') return { ...said, status: 413 }
  return said
}

/** What went wrong inside is for the log: it may name files, or worse. */
const SILENT: readonly Code[] = ['INTERNAL', 'STORE_UNUSABLE']

function actorOf(caller: Caller, store: Store): string {
  try {
    return standingOf(caller, store.snapshot, Date.now()).actor
  } catch {
    return caller.kind === 'local' ? 'local' : caller.id
  }
}

function tooLarge(most: number): PosternError {
  return new PosternError('REQUEST_TOO_LARGE', `the body is larger than ${most} bytes`, {
    speaker: 'edge',
    next: 'Send less in one request.',
  })
}

function badUsage(message: string): PosternError {
  return new PosternError('BAD_USAGE', message, { speaker: 'edge' })
}
