import { PosternError } from '@postern/interface'
import {
  checkExpected,
  type ExpectedToken,
  type FindKey,
  IDENTITY_TYP,
  readIdentityClaims,
  readJwks,
  type TokenIdentity,
  verifyToken,
} from '@postern/tokens'
import { type PresentedToken, tokenOf } from './presented.ts'
import { type Fetch, RemoteKeys } from './remote-keys.ts'

export interface VerifierOptions {
  /** The edge’s own hostname, with its port where that is not 443: `team.example.com`. Tokens are from `https://` and this. */
  readonly teamDomain: string
  /** The application’s hostname, as people type it: `app.example.com`. Tokens for another application are refused. */
  readonly audience: string
  /**
   * Where the keys are. Default: `https://<teamDomain>/.well-known/jwks.json`. https, or http on this machine. A private CA is
   * trusted with NODE_EXTRA_CA_CERTS.
   */
  readonly jwks?: URL
  /** The keys themselves (RFC 7517 §5), for machines that reach no edge. They change when you change them. */
  readonly keys?: unknown
  /** How far this clock and the edge’s may be apart: 0 to 60 s. Default 10. */
  readonly clockToleranceSeconds?: number
  /** How keys are fetched, for programs that reach the team domain in a way of their own. Default: the global `fetch`. */
  readonly fetch?: Fetch
  /** Told when the team domain did not give its keys. The last ones stay in use for 24 hours. */
  readonly onProblem?: (problem: PosternError) => void
}

/** Who sent a request, from a token that was verified. */
export interface VerifiedIdentity extends TokenIdentity {
  /** ms since the epoch: what this identity opened should end by then, or be asked about again. */
  readonly expiresAt: number
}

export interface Verifier {
  /**
   * Who sent this request.
   *
   * @throws LOGIN_REQUIRED: it has no token. AUTH_REJECTED: it has a bad one, or one for another application. TOKEN_EXPIRED.
   * EDGE_UNREACHABLE: there are no keys to verify with; answer 503, and 401 to the others.
   */
  verify(presented: PresentedToken): Promise<VerifiedIdentity>
}

const JWKS_PATH = '/.well-known/jwks.json'
const TOLERANCE_SECONDS = 10

/**
 * Makes what checks the `postern-identity` header of requests. Nothing is fetched before the first token comes.
 *
 * @throws OPTION_INVALID or OPTION_CONFLICT when it could not verify anything: a program must not start without
 *
 * @example
 * const verifier = createVerifier({ teamDomain: 'team.example.com', audience: 'app.example.com' })
 * const { subject, email } = await verifier.verify(request)
 */
export function createVerifier(options: VerifierOptions): Verifier {
  const { teamDomain, audience, clockToleranceSeconds = TOLERANCE_SECONDS } = options
  if (!isHost(teamDomain)) throw invalid('teamDomain is the edge’s own hostname, such as team.example.com')
  if (!isHost(audience) || audience.includes(':'))
    throw invalid('audience is the application’s hostname, such as app.example.com')
  const expected: ExpectedToken = {
    typ: IDENTITY_TYP,
    issuer: `https://${teamDomain}`,
    audience,
    clockToleranceSeconds,
  }
  checkExpected(expected)
  const find = keysOf(options)
  return {
    async verify(presented) {
      const { claims } = await verifyToken(tokenOf(presented), find, expected)
      return { ...readIdentityClaims(claims), expiresAt: claims.exp * 1000 }
    },
  }
}

function keysOf(options: VerifierOptions): FindKey {
  const { teamDomain, jwks, fetch, onProblem = () => {} } = options
  if ('keys' in options) {
    if (jwks) throw new PosternError('OPTION_CONFLICT', 'give jwks (where the keys are) or keys, not both')
    const keys = readJwks(options.keys)
    return kid => keys.get(kid)
  }
  const url = new URL(jwks ?? `https://${teamDomain}${JWKS_PATH}`)
  const isSafe = url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url.hostname))
  if (!isSafe || url.username !== '' || url.password !== '')
    throw invalid('jwks is an https URL without a user name; http is for this machine only')
  const remote = new RemoteKeys(url, onProblem, fetch)
  return kid => remote.find(kid)
}

/** A hostname as it stands in a token: lower case, nothing around it. */
function isHost(text: unknown): text is string {
  return typeof text === 'string' && text !== '' && URL.parse(`https://${text}`)?.origin === `https://${text}`
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname)
}

function invalid(message: string): PosternError {
  return new PosternError('OPTION_INVALID', message)
}
