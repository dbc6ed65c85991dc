import {
  type AuthProvider,
  type AuthRequest,
  type Call,
  type Dialled,
  type PipePurpose,
  PosternError,
  type Purpose,
  type Transport,
} from '@postern/interface'
import { connectEdge, type Trust } from './connect.ts'
import { authenticate } from './credentials.ts'

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
}

/**
 * Credential, then pipe: what client and daemon both do first. Where the edge answers with a challenge, the providers are
 * asked again, three rounds at most; a provider that has no answer leaves the edge's refusal standing.
 *
 * @throws PosternError as `connectEdge`, the transport, the providers; the edge's refusal, with its request id
 */
export async function dialEdge(want: EdgeDial, call: Call): Promise<Dialled> {
  let request: AuthRequest = want.wanted
  for (let round = 1; ; round++) {
    const credential = await authenticate(want.auth, request, call)
    const address = { host: want.edge.hostname.replace(/^\[|\]$/g, ''), port: portOf(want.edge), serverName: want.host }
    try {
      return await want.transport.dial(
        {
          edge: want.edge,
          host: want.host,
          purpose: want.purpose,
          headers: {},
          credential,
          connect: (securing, inner) => connectEdge(address, securing, want.trust, credential, inner),
          ca: want.trust.ca,
        },
        call,
      )
    } catch (error) {
      const refusal = PosternError.is(error) ? error.refusal : undefined
      if (round === ROUNDS || refusal?.status !== 401 || !refusal.headers['www-authenticate']) throw error
      request = { ...want.wanted, refused: { ...refusal, credential } }
    }
  }
}

function portOf(edge: URL): number {
  return edge.port === '' ? (edge.protocol === 'http:' ? 80 : 443) : Number(edge.port)
}
