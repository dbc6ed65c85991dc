import { type Adapter, type AdapterPayload, errors, Provider } from 'oidc-provider'
import type { Exchange } from '../front/exchange.ts'
import { Forgotten, Passing } from './passing.ts'
import type { Payload, SignIns } from './sign-ins.ts'
import { POLL_SECONDS } from './words.ts'

/** What oidc-provider keeps, by the name of its kind. What is asked for under another name is not kept. */
export function adaptersOf(
  signIns: SignIns,
  exchangeOf: (request: unknown) => Exchange | undefined,
  pollSeconds: number = POLL_SECONDS,
): (kind: string) => Adapter {
  const kinds: Readonly<Record<string, Adapter>> = {
    Grant: new Grants(signIns, exchangeOf),
    RefreshToken: new RefreshTokens(signIns),
    AccessToken: new Passing(),
    AuthorizationCode: new Passing(),
    DeviceCode: new Passing({ pollInterval: pollSeconds * 1000 - 500, isPolling }),
    Interaction: new Passing(),
    ReplayDetection: new Passing(),
  }
  return kind => kinds[kind] ?? new Forgotten()
}

/** Whether it is the device that looks for its code, and not the person who typed it. */
function isPolling(): boolean {
  return Provider.ctx?.oidc.route === 'token'
}

class Grants extends Forgotten {
  readonly #signIns: SignIns
  readonly #exchangeOf: (request: unknown) => Exchange | undefined

  constructor(signIns: SignIns, exchangeOf: (request: unknown) => Exchange | undefined) {
    super()
    this.#signIns = signIns
    this.#exchangeOf = exchangeOf
  }

  override async upsert(id: string, payload: AdapterPayload): Promise<void> {
    await this.#signIns.putGrant(id, payload.accountId ?? '', payload as Payload)
  }

  override async find(id: string): Promise<AdapterPayload | undefined> {
    const grant = this.#signIns.grantOf(id)
    return grant && { ...grant, jti: id }
  }

  /** The one place where a sign-in ends: signed out, or something of it was used twice. */
  override async destroy(id: string): Promise<void> {
    const ctx = Provider.ctx
    const exchange = this.#exchangeOf(ctx?.req)
    const why = ctx?.oidc.route === 'revocation' ? 'signed out' : 'a code or refresh token was used twice'
    await this.#signIns.end(id, why, {
      ...(exchange && { requestId: exchange.requestId, remoteAddress: exchange.presented.remoteAddress }),
    })
  }
}

/**
 * Using a token up, destroying it and revoking those of a grant are done with the sign-in's row: by the birth of the successor,
 * and by the end of the grant, which oidc-provider always asks for in the same breath.
 */
class RefreshTokens extends Forgotten {
  readonly #signIns: SignIns

  constructor(signIns: SignIns) {
    super()
    this.#signIns = signIns
  }

  override async upsert(token: string, payload: AdapterPayload): Promise<void> {
    const kept = await this.#signIns.putToken(payload.grantId ?? '', token, payload as Payload, rotatedToken())
    if (!kept) throw new errors.InvalidGrant({ detail: 'used up meanwhile' })
  }

  override async find(token: string): Promise<AdapterPayload | undefined> {
    const found = this.#signIns.findToken(token)
    if (found === undefined) return undefined
    const { payload, grantId, isReused } = found
    return { ...payload, jti: token, grantId, ...(isReused && { consumed: true }) }
  }
}

/** The token that is being used for a new one in this very request. */
export function rotatedToken(): string | undefined {
  return Provider.ctx?.oidc.entities.RotatedRefreshToken?.jti
}
