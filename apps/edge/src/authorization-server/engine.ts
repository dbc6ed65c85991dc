import { EventEmitter } from 'node:events'
import { PosternError } from '@postern/interface'
import { type ErrorOut, type KoaContextWithOIDC, Provider } from 'oidc-provider'
import type { Exchange } from '../front/exchange.ts'
import { sendPage } from '../team/page.ts'
import { methodNotAllowed } from '../team/site.ts'
import { adaptersOf, rotatedToken } from './adapters.ts'
import { configurationOf, EXCHANGE_GRANT } from './configuration.ts'
import { ConfirmPage } from './confirm.ts'
import { DevicePage } from './device.ts'
import { EXCHANGE_PARAMETERS, TokenExchange } from './exchange.ts'
import type { AuthorizationServerParts } from './needs.ts'
import { errorPage } from './pages.ts'
import type { SignIns } from './sign-ins.ts'
import { serveUserinfo } from './userinfo.ts'
import { PATHS, POLL_SECONDS, SCOPE } from './words.ts'

/** Milliseconds for a whole request of a client: bodies are a few hundred bytes. */
const REQUEST_TIME = 15_000

/** What programs send; everything else is asked for. */
const POSTED: ReadonlySet<string> = new Set([PATHS.token, PATHS.deviceAuthorization, PATHS.revoke])

/** All of it that needs oidc-provider, which takes a third of a second to load: imported when somebody asks for the first time. */
export class Engine {
  readonly #parts: AuthorizationServerParts
  readonly #provider: Provider
  readonly #handle: ReturnType<Provider['callback']>
  readonly #confirm: ConfirmPage
  readonly #device: DevicePage
  /** By the request as Node has it: what oidc-provider hands to our functions leads back to the exchange. */
  readonly #exchanges = new WeakMap<object, Exchange>()

  constructor(parts: AuthorizationServerParts, signIns: SignIns) {
    this.#parts = parts
    const exchangeOf = (request: unknown) => this.#exchanges.get(request as object)
    const exchangeIn = (ctx: KoaContextWithOIDC) => this.#exchangeIn(ctx)
    const adapter = adaptersOf(signIns, exchangeOf, parts.pollSeconds)
    const renderError = (ctx: KoaContextWithOIDC, out: ErrorOut) => this.#renderError(ctx, out)
    const { sessions } = parts
    const configuration = configurationOf({ adapter, sessions, exchangeOf: exchangeIn, renderError })
    const provider = new Provider(parts.origins.team, configuration)
    this.#provider = provider
    this.#confirm = new ConfirmPage(parts, provider)
    this.#device = new DevicePage(parts, provider)
    const exchange = new TokenExchange(parts, provider, exchangeIn)
    provider.registerGrantType(EXCHANGE_GRANT, ctx => exchange.handle(ctx), EXCHANGE_PARAMETERS)
    this.#adjust(signIns)
    this.#handle = provider.callback()
  }

  async serve(exchange: Exchange, path: string): Promise<void> {
    if (path === PATHS.device) return this.#device.serve(exchange)
    if (path.startsWith(PATHS.interaction)) return this.#confirm.serve(exchange, path.slice(PATHS.interaction.length))
    if (path === PATHS.userinfo) return serveUserinfo(exchange, this.#provider, this.#parts)
    const methods = POSTED.has(path) ? ['POST'] : ['GET', 'HEAD']
    if (!methods.includes(exchange.method)) return methodNotAllowed(exchange, ...methods)
    if (path === PATHS.authorize) mustAnswerInQuery(exchange)
    await this.#ask(exchange)
  }

  async #ask(exchange: Exchange): Promise<void> {
    const { request, response, presented, requestId, version } = exchange
    this.#exchanges.set(request, exchange)
    request.url = exchange.target
    // A body over HTTP/2 needs no length; Koa takes it for none.
    if (version === '2') request.headers['transfer-encoding'] ??= 'chunked'
    if (presented.headers.expect !== undefined) response.writeContinue()
    response.setHeader('postern-request-id', requestId)
    response.setHeader('cache-control', 'no-store')
    response.setHeader('x-content-type-options', 'nosniff')
    response.setHeader('referrer-policy', 'no-referrer')
    const timer = setTimeout(() => exchange.cut(new Error('the request did not arrive in time')), REQUEST_TIME)
    try {
      await this.#handle(request, response)
    } finally {
      clearTimeout(timer)
    }
  }

  #adjust(signIns: SignIns): void {
    const provider = this.#provider
    const { origins, log, pollSeconds = POLL_SECONDS } = this.#parts
    // Addresses in answers are the public ones, whatever port the request was sent to.
    Object.defineProperty(provider.request, 'host', { get: () => new URL(origins.team).host })
    Object.defineProperty(provider.request, 'protocol', { get: () => 'https' })
    // One successor for each refresh token (see SignIns): the text is made there.
    Object.defineProperty(provider.RefreshToken.prototype, 'generateTokenId', {
      value(this: { grantId: string }) {
        return signIns.tokenFor(this.grantId, rotatedToken())
      },
    })
    provider.use(async (ctx, next) => {
      await next()
      // What oidc-provider believes of itself, but for the sign-in of people, which is elsewhere.
      if (ctx.oidc?.route === 'discovery')
        Object.assign(ctx.body as object, {
          scopes_supported: [SCOPE],
          response_modes_supported: ['query'],
          userinfo_endpoint: origins.team + PATHS.userinfo,
        })
    })
    // The code is typed, never followed (RFC 8628 §5.4).
    provider.on('device_authorization.success', (_ctx, body) => {
      Object.assign(body, { verification_uri_complete: undefined, interval: pollSeconds })
    })
    // No browser is remembered here, so none is given a cookie for it.
    provider.on('authorization.success', ctx => Object.assign(ctx.oidc.session ?? {}, { destroyed: true }))
    provider.on('server_error', (ctx, error) => {
      const { requestId } = this.#exchangeIn(ctx)
      log.error('the authorization server failed', { requestId, path: ctx.path, error: String(error) })
    })
    // Koa writes to stderr where nobody listens: a visitor who left, mostly.
    EventEmitter.prototype.on.call(provider, 'error', error => {
      log.debug('an answer of the authorization server was not sent', { error: String(error) })
    })
  }

  #exchangeIn(ctx: KoaContextWithOIDC): Exchange {
    const exchange = this.#exchanges.get(ctx.req)
    if (exchange === undefined) throw new Error('a request from nowhere')
    return exchange
  }

  /** What cannot be sent back to the program: the person is told. */
  #renderError(ctx: KoaContextWithOIDC, out: ErrorOut): void {
    const exchange = this.#exchangeIn(ctx)
    if (!exchange.isNavigation) {
      ctx.body = out
      return
    }
    ctx.respond = false
    sendPage(exchange, errorPage(out.error_description ?? out.error, ctx.status))
  }
}

/**
 * The one way that programs take the answer. Another that oidc-provider knows is a page of its own, with a script, which sends a
 * form to this machine.
 *
 * @throws PosternError BAD_USAGE
 */
function mustAnswerInQuery({ target }: Exchange): void {
  const { searchParams } = new URL(target, 'https://team.invalid')
  if (searchParams.getAll('response_mode').every(mode => mode === 'query')) return
  throw new PosternError('BAD_USAGE', 'response_mode is query, or not given', {
    speaker: 'edge',
    next: 'Start again from the program that opened this page.',
  })
}
