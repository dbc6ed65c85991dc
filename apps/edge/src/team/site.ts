import { type Logger, PosternError, type Problem, problem } from '@postern/interface'
import type { Exchange } from '../front/exchange.ts'
import { refusalOf } from '../ways/context.ts'
import { sendProblemPage } from './problem-page.ts'

/** Some paths of the team domain, and who answers there. */
export interface Room {
  /** @param path without the query */
  match(path: string): boolean
  /** What it throws is answered as a refusal. */
  serve(exchange: Exchange): Promise<void>
}

export interface TeamSiteOptions {
  /** The first that matches answers. */
  readonly rooms: readonly Room[]
  readonly log: Logger
}

/** Everything on the team domain but the API: who is there decides what they see. */
export class TeamSite {
  readonly #options: TeamSiteOptions

  constructor(options: TeamSiteOptions) {
    this.#options = options
  }

  /** Never rejects. */
  async serve(exchange: Exchange): Promise<void> {
    const path = pathOf(exchange)
    try {
      const room = this.#options.rooms.find(one => one.match(path))
      if (room === undefined) throw nothingHere()
      await room.serve(exchange)
    } catch (error) {
      this.#failed(exchange, error)
    }
  }

  #failed(exchange: Exchange, error: unknown): void {
    const { requestId, response, signal } = exchange
    if (signal.aborted || response.destroyed) return
    if (!PosternError.is(error)) this.#options.log.error('a page failed', { requestId, error: String(error) })
    if (response.headersSent) return void response.destroy()
    refuse(exchange, refusalOf(error, requestId))
  }
}

/** As a page where a browser asks for one, or sends a form; as a problem to everybody else. */
export function refuse(exchange: Exchange, refusal: Problem): void {
  if (exchange.isNavigation || isForm(exchange)) sendProblemPage(exchange, refusal, { link: FIRST_PAGE })
  else exchange.refuse(refusal)
}

const FIRST_PAGE = { href: '/', text: 'To the first page' }

/** The path of a request, without its query. */
export function pathOf({ target }: Pick<Exchange, 'target'>): string {
  return target.split('?', 1)[0] ?? ''
}

/** @throws PosternError BAD_USAGE when a name comes twice */
export function queryOf({ target }: Pick<Exchange, 'target'>): URLSearchParams {
  const at = target.indexOf('?')
  const query = new URLSearchParams(at < 0 ? '' : target.slice(at + 1))
  if (new Set(query.keys()).size === [...query.keys()].length) return query
  throw new PosternError('BAD_USAGE', 'a parameter came twice', { speaker: 'edge' })
}

/** Whether a browser sends a form of a page, or says so: it shows what comes back. */
function isForm({ method, presented }: Exchange): boolean {
  const { accept = [], 'sec-fetch-mode': mode } = presented.headers
  return method === 'POST' && accept.join().includes('text/html') && (mode === undefined || mode[0] === 'navigate')
}

function nothingHere(): PosternError {
  return new PosternError('NOT_FOUND', 'there is no such page', {
    speaker: 'edge',
    next: 'Check the address, or start at the first page.',
  })
}

/** For rooms that take one method only. */
export function methodNotAllowed(exchange: Exchange, ...allowed: readonly string[]): void {
  const refusal = { ...problem('BAD_USAGE', exchange.requestId, { speaker: 'edge' }), status: 405 }
  exchange.refuse(refusal, { allow: allowed.join(', ') })
}
