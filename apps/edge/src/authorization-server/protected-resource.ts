import type { OwnPaths } from '../http/context.ts'
import type { Origins } from '../origins.ts'
import { methodNotAllowed, pathOf } from '../team/site.ts'
import { sendJson } from './json.ts'

/** Where an application says who signs in for it (RFC 9728 §3). */
const PROTECTED_RESOURCE = '/.well-known/oauth-protected-resource'

/** Where programs that were refused, or were told nothing but a hostname, find the authorization server. Open to everybody. */
export function protectedResource(origins: Origins): OwnPaths {
  return {
    async serveOnApplication(exchange, { hostname }) {
      if (pathOf(exchange) !== PROTECTED_RESOURCE) return false
      const { method } = exchange
      if (method !== 'GET' && method !== 'HEAD') methodNotAllowed(exchange, 'GET')
      else
        sendJson(exchange, 200, {
          resource: origins.of(hostname),
          authorization_servers: [origins.team],
          bearer_methods_supported: ['header'],
        })
      return true
    },
  }
}
