import { PosternError, type Refusal } from '@postern/interface'
import { type Asking, askJson } from './asking.ts'

/** Where an application has its people sign in, as it says itself (RFC 9728). */
export interface Located {
  /** Its origin: what a token for it is asked for. */
  readonly resource: string
  readonly issuer: string
}

/** The authorization server of a team (RFC 8414). */
export interface Team {
  readonly issuer: string
  readonly authorization: URL
  readonly token: URL
  readonly device: URL
  readonly revocation: URL
  readonly userinfo: URL
}

const DOCUMENT = '/.well-known/oauth-protected-resource'
/** Characters. Longer is no hostname with a port. */
const LONGEST = 270

/**
 * Asks an application where its people sign in. What answers must speak of the hostname that was asked, or a token for one
 * application could be had under the name of another.
 *
 * @throws PosternError EDGE_PROTOCOL, and what asking throws
 */
export async function locate(hostname: string, refused: Refusal | undefined, asking: Asking): Promise<Located> {
  const { status, value } = await askJson(documentOf(hostname, refused), {}, asking)
  const { resource, authorization_servers: servers } = value
  if (status !== 200 || typeof resource !== 'string' || !Array.isArray(servers))
    throw wrong(`${hostname} does not say where its people sign in (status ${status})`)
  const origin = originOf(resource)
  if (origin === undefined || new URL(origin).hostname !== hostname)
    throw wrong(`${hostname} says that it is ${shown(resource)}`)
  const issuer = originOf(servers[0])
  if (issuer === undefined) throw wrong(`${hostname} names ${shown(servers[0])} as the place where its people sign in`)
  return { resource: origin, issuer }
}

/** The challenge of RFC 9728, section 5.1, names the document. It is asked for only where it is that hostname's own. */
function documentOf(hostname: string, refused: Refusal | undefined): URL {
  for (const challenge of refused?.headers['www-authenticate'] ?? []) {
    const named = URL.parse(/\bresource_metadata="([^"]{1,1024})"/.exec(challenge)?.[1] ?? '')
    if (named && named.protocol === 'https:' && named.hostname === hostname && named.pathname === DOCUMENT) return named
  }
  return new URL(`https://${hostname}${DOCUMENT}`)
}

/**
 * What a team's authorization server says of itself.
 *
 * @throws PosternError EDGE_PROTOCOL: it is somebody else's document, sends credentials elsewhere, or has no PKCE
 */
export async function discover(issuer: string, asking: Asking): Promise<Team> {
  const { status, value } = await askJson(new URL(`${issuer}/.well-known/oauth-authorization-server`), {}, asking)
  if (status !== 200 || value.issuer !== issuer)
    throw wrong(`${issuer} is no authorization server: it says that it is ${shown(value.issuer)} (status ${status})`)
  const methods = value.code_challenge_methods_supported
  if (!Array.isArray(methods) || !methods.includes('S256')) throw wrong(`${issuer} has no PKCE with S256`)
  const endpoint = (name: string): URL => {
    const url = URL.parse(String(value[`${name}_endpoint`]))
    if (url?.origin !== issuer)
      throw wrong(`${issuer} names ${shown(value[`${name}_endpoint`])} as its ${name} endpoint`)
    return url
  }
  return {
    issuer,
    authorization: endpoint('authorization'),
    token: endpoint('token'),
    device: endpoint('device_authorization'),
    revocation: endpoint('revocation'),
    userinfo: endpoint('userinfo'),
  }
}

/** Of a text that is an `https:` origin and nothing more. */
function originOf(text: unknown): string | undefined {
  const url = typeof text === 'string' && text.length <= LONGEST ? URL.parse(text) : null
  return url?.protocol === 'https:' && (text === url.origin || text === `${url.origin}/`) ? url.origin : undefined
}

function wrong(message: string): PosternError {
  return new PosternError('EDGE_PROTOCOL', message, { speaker: 'client' })
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? 'nothing').slice(0, 120)
}
