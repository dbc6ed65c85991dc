import {
  type AuthProvider,
  type AuthRequest,
  type Call,
  type Credential,
  type Dialled,
  type DialRequest,
  type PipePurpose,
  PosternError,
  type Purpose,
  type SentHeaders,
  type Transport,
} from '@postern/interface'
import { connectEdge, type Trust } from './connect.ts'
import { authenticate } from './credentials.ts'
import { isLoopbackName } from './hostname.ts'
import { mendable } from './transports.ts'

/** How often a challenge (Negotiate, step-up) is answered before the refusal stands. */
const ROUNDS = 3

export interface EdgeDial {
  /** Where the edge listens, for example `https://db.example.com` or `https://127.0.0.1:8443`. */
  readonly edge: URL
  /** What Host and SNI say: the application's hostname, or the team domain for a connector. */
  readonly host: string
  readonly purpose: PipePurpose
  /** What the credential is for. */
  readonly wanted: Purpose
  /** At least one. Their credentials are merged. */
  readonly auth: readonly AuthProvider[]
  readonly transport: Transport
  readonly trust: Trust
  /** Sent besides the credential's own. */
  readonly headers?: SentHeaders
}

/**
 * Credential, then pipe: what client and daemon both do first. Where the edge answers with a challenge, the providers are
 * asked again, three rounds at most; a provider that has no answer leaves the edge's refusal standing.
 *
 * @throws PosternError as `connectEdge`, the transport, the providers; OPTION_INVALID for an edge that is not `https:` (`http:`
 *   is for this machine only); the edge's refusal, with its request id; `call.signal.reason`
 */
export async function dialEdge(want: EdgeDial, call: Call): Promise<Dialled> {
  refuseClearText(want.edge)
  let credential = await authenticate(want.auth, want.wanted, call)
  for (let round = 1; ; round++) {
    try {
      return await dialOnce(want, credential, call)
    } catch (error) {
      const refusal = PosternError.is(error) ? error.refusal : undefined
      if (round === ROUNDS || refusal?.status !== 401 || !refusal.headers['www-authenticate']) throw error
      credential = await answer(want, { ...want.wanted, refused: { ...refusal, credential } }, error, call)
    }
  }
}

async function dialOnce(want: EdgeDial, credential: Credential, call: Call): Promise<Dialled> {
  let isThere = false
  try {
    return await want.transport.dial(
      requestOf(want, credential, () => {
        isThere = true
      }),
      call,
    )
  } catch (error) {
    // Somebody is there, and it is this way that does not get through to the edge.
    throw isThere && PosternError.is(error) && error.code === 'EDGE_UNREACHABLE' ? mendable(error) : error
  }
}

/** Asks the providers again. @throws `refusal` where they have no answer to it */
async function answer(want: EdgeDial, request: AuthRequest, refusal: unknown, call: Call): Promise<Credential> {
  try {
    return await authenticate(want.auth, request, call)
  } catch (error) {
    throw PosternError.is(error) && error.code === 'AUTH_REJECTED' ? refusal : error
  }
}

function requestOf(
  { edge, host, purpose, trust, headers = {} }: EdgeDial,
  credential: Credential,
  onTcp: () => void,
): DialRequest {
  const address = { host: bare(edge.hostname), port: portOf(edge), serverName: host }
  return {
    edge,
    host,
    purpose,
    headers,
    credential,
    connect: (securing, call) => connectEdge(address, securing, trust, credential, call, onTcp),
    ca: trust.ca,
  }
}

/** A credential does not travel in clear text, whatever somebody wrote by mistake. */
function refuseClearText({ protocol, hostname }: URL): void {
  const local = isLoopbackName(hostname) || /^127\.[\d.]+$/.test(hostname) || hostname === '[::1]'
  if (protocol === 'https:' || (protocol === 'http:' && local)) return
  throw new PosternError('OPTION_INVALID', `the edge is dialled by https:, not by ${protocol}`, { speaker: 'client' })
}

/** Without the brackets that a URL has around an IPv6 address. */
function bare(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, '')
}

function portOf(edge: URL): number {
  return edge.port === '' ? (edge.protocol === 'http:' ? 80 : 443) : Number(edge.port)
}
