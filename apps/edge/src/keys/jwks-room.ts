import type { Exchange } from '../front/exchange.ts'
import type { Room } from '../team/site.ts'
import type { TeamKeys } from './team-keys.ts'

const PATH = '/.well-known/jwks.json'
/** Seconds others may keep the set: a key that was removed is believed no longer. A new one is in it long before it signs. */
const KEPT = 300

/** The public keys of the team, at `https://TEAM/.well-known/jwks.json` (RFC 7517 §5). */
export function jwksRoom(keys: Pick<TeamKeys, 'jwks'>): Room {
  return {
    match: (path: string): boolean => path === PATH,
    async serve({ method, response }: Exchange): Promise<void> {
      if (method !== 'GET' && method !== 'HEAD') {
        response.statusCode = 405
        response.setHeader('allow', 'GET, HEAD')
        response.end()
        return
      }
      const body = JSON.stringify(keys.jwks())
      response.setHeader('content-type', 'application/jwk-set+json')
      response.setHeader('content-length', Buffer.byteLength(body))
      response.setHeader('cache-control', `public, max-age=${KEPT}`)
      response.setHeader('access-control-allow-origin', '*')
      response.setHeader('x-content-type-options', 'nosniff')
      response.end(method === 'HEAD' ? '' : body)
    },
  }
}
