import {
  type AuthVerifier,
  type Call,
  definePlugin,
  type EdgeHost,
  type Identity,
  type Json,
  PosternError,
  type Presented,
} from '@postern/interface'
import { readJwks, type VerificationKey, type VerifiedToken, verifySecret, verifyToken } from '@postern/tokens'
import { readShown } from './presented.ts'
import { readCookie, readSession, type Session } from './record.ts'

/** RFC 9068 §2.1: an access token is no other kind of token. */
const TOKEN_TYP = 'at+jwt'
const COOKIE = /^([0-9a-f]{24})\.([A-Za-z0-9_-]{43})$/
const COOKIE_LENGTH = 24 + 1 + 43
const ID = /^[0-9a-f]{24}$/

/** Finds out who is signed in: by an application's cookie, or by an access token for it. */
export default definePlugin({
  kind: 'auth',
  side: 'edge',
  name: 'browser-sso',
  options: {},
  create: (_options, host): AuthVerifier => {
    const keys = new Keys(host)
    return {
      async verify(presented, call) {
        call.signal.throwIfAborted()
        const shown = readShown(presented)
        if (shown === undefined) return undefined
        const at = readHost(presented)
        const identity =
          'cookie' in shown
            ? await ofCookie(shown.cookie, at.hostname, host, call)
            : await ofToken(shown.token, at.origin, keys, host, call)
        return identity && { identity }
      },
    }
  },
})

/**
 * Who a cookie is. One that has expired, was revoked or is not known is as if absent: a browser cannot do better than sign in
 * again.
 *
 * @throws PosternError AUTH_REJECTED: it cannot be ours, its secret is wrong, or it is another application's
 */
async function ofCookie(value: string, hostname: string, host: EdgeHost, call: Call): Promise<Identity | undefined> {
  const [, id, secret = ''] = (value.length === COOKIE_LENGTH ? COOKIE.exec(value) : undefined) ?? []
  if (id === undefined) throw rejected('the session’s cookie is not one')
  const row = await host.records.get(`cookie.${id}`)
  call.signal.throwIfAborted()
  const cookie = readCookie(row)
  if (row !== undefined && !cookie) call.log.error('the record of a cookie cannot be read', { id })
  // The same work whether or not it is known.
  const isTheirs = verifySecret(secret, cookie?.hash)
  if (cookie === undefined) return undefined
  if (!isTheirs) throw rejected('the session’s cookie was altered')
  if (cookie.hostname !== hostname) throw rejected('the session’s cookie is another application’s')
  if (!(cookie.expiresAt > Date.now())) return undefined
  const session = await sessionOf(cookie.session, host, call)
  return session && identityOf(session, cookie.session, cookie.expiresAt, [`cookie:${id}`])
}

/**
 * Who an access token is about. One that has expired, or whose session has ended, is as if absent.
 *
 * @throws PosternError AUTH_REJECTED: not signed by the team, of another kind, or for another application
 */
async function ofToken(
  token: string,
  origin: string,
  keys: Keys,
  host: EdgeHost,
  call: Call,
): Promise<Identity | undefined> {
  const verified = await keys.verify(token, origin)
  call.signal.throwIfAborted()
  if (verified === undefined) return undefined
  const { sub, idp, sid, session_expires_at: ends } = verified.claims
  if (typeof sid !== 'string' || !ID.test(sid) || typeof ends !== 'number' || !Number.isFinite(ends))
    throw rejected('the access token does not say whose session it is of')
  const expiresAt = ends * 1000
  const session = await sessionOf(sid, host, call)
  if (session === undefined || !(expiresAt > Date.now())) return undefined
  if (session.person.subject !== sub || session.person.issuer !== idp)
    throw rejected('the access token is about somebody else than its session')
  return identityOf(session, sid, expiresAt, [`key:${verified.kid}`])
}

async function sessionOf(id: string, host: EdgeHost, call: Call): Promise<Session | undefined> {
  const row = await host.records.get(`session.${id}`)
  call.signal.throwIfAborted()
  const session = readSession(row)
  if (row !== undefined && !session) call.log.error('the record of a session cannot be read', { id })
  return session
}

/** The person as the session has them: what a token says besides is for programs that cannot ask here. */
function identityOf(
  { person, authenticatedAt }: Session,
  sid: string,
  expiresAt: number,
  keys: readonly string[],
): Identity {
  const { issuer, subject, name, email, groups, claims } = person
  return {
    kind: 'user',
    issuer,
    subject,
    ...(email !== undefined && { email }),
    ...(groups !== undefined && { groups }),
    claims: { ...claims, ...(name !== undefined && { name }), sid, auth_time: Math.floor(authenticatedAt / 1000) },
    expiresAt,
    revokeKeys: [`session:${sid}`, `user:${issuer} ${subject}`, ...keys],
  }
}

/** The team's keys, read once for as long as the edge says the same. */
class Keys {
  readonly #host: EdgeHost
  #read: { readonly of: Json; readonly keys: ReadonlyMap<string, VerificationKey> } | undefined

  constructor(host: EdgeHost) {
    this.#host = host
  }

  /** @returns undefined when it has expired */
  async verify(token: string, audience: string): Promise<VerifiedToken | undefined> {
    const [published, issuer] = await Promise.all([this.#host.keys.jwks(), this.#host.keys.issuer()])
    if (this.#read?.of !== published) this.#read = { of: published, keys: readJwks(published) }
    const { keys } = this.#read
    try {
      return await verifyToken(token, kid => keys.get(kid), { typ: TOKEN_TYP, issuer, audience })
    } catch (error) {
      if (PosternError.is(error) && error.code === 'TOKEN_EXPIRED') return undefined
      throw error
    }
  }
}

/** The application that was asked for, as the edge has judged it already: a hostname, perhaps a port. */
function readHost({ headers }: Presented): { readonly hostname: string; readonly origin: string } {
  const [host = '', ...more] = headers.host ?? []
  if (more.length > 0 || host === '') throw new PosternError('BAD_USAGE', 'one Host is needed')
  const { hostname, origin } = new URL(`https://${host}`)
  return { hostname, origin }
}

function rejected(message: string): PosternError {
  return new PosternError('AUTH_REJECTED', message)
}
