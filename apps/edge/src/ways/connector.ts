import { randomUUID } from 'node:crypto'
import { type Incoming, problem } from '@postern/interface'
import { startTunnel } from '@postern/tunnel'
import type { ConnectorAdmission } from '../authorize/authorize.ts'
import type { Connection } from '../routes/routes.ts'
import { note, saidBy, type WayContext } from './context.ts'

/** Live connections one tunnel may have: sixteen daemons of four. */
const MOST_CONNECTIONS = 64

/** A daemon's pipe. It serves streams and opens none. Resolves when it is over. */
export async function serveConnector(
  incoming: Incoming,
  admission: ConnectorAdmission,
  context: WayContext,
): Promise<void> {
  const { routes, live, store, log, signal } = context
  const { tunnelId, requestId, remoteAddress } = admission
  if (routes.count(tunnelId) >= MOST_CONNECTIONS) {
    note(store, admission, { action: 'connector.refused', allowed: false, code: 'LIMIT_EXCEEDED' })
    return incoming.reject(problem('LIMIT_EXCEEDED', requestId, { speaker: 'edge' }))
  }
  const pipe = await incoming.accept({ 'postern-request-id': requestId })
  const tunnel = await startTunnel(
    pipe,
    {
      role: 'server',
      speaker: 'edge',
      hears: ['daemon', 'service', 'plugin'],
      log,
      onStream: offered => offered.reject(problem('DESTINATION_FORBIDDEN', requestId, { speaker: 'edge' })),
    },
    { log, signal },
  )
  const connection: Connection = { id: randomUUID(), tunnelId, remoteAddress, since: Date.now(), tunnel }
  routes.add(connection)
  const forget = live.keepConnector(admission, reason => tunnel.cut(reason))
  log.info('a daemon connected', { tunnel: tunnelId, connection: connection.id, remoteAddress })
  const error = await tunnel.closed
  forget()
  routes.remove(connection)
  log.info('a daemon’s connection ended', { tunnel: tunnelId, connection: connection.id, code: error?.code })
  const detail = { tunnel: tunnelId, connection: connection.id, ms: Date.now() - connection.since, ...saidBy(error) }
  note(store, admission, { action: 'connector.end', code: error?.code, detail })
}
