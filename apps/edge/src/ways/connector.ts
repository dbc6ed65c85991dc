import { randomUUID } from 'node:crypto'
import { type Identity, type Incoming, PosternError, problem } from '@postern/interface'
import { type HostMessage, type NoteMessage, type ReportMessage, startTunnel, type Tunnel } from '@postern/tunnel'
import type { ConnectorAdmission } from '../authorize/authorize.ts'
import type { Connection } from '../routes/routes.ts'
import { readSaid } from '../routes/said.ts'
import { announceGrantKeys } from './announce.ts'
import { note, saidBy, type WayContext } from './context.ts'

/** Live connections one tunnel may have: sixteen daemons of four. */
const MOST_CONNECTIONS = 64
/** Reports of one daemon in a minute that leave a row each, and as many notes; then one in a hundred does. */
const MOST_REPORTS = 6000

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
  let connection: Connection | undefined
  const tunnel = await startTunnel(
    pipe,
    {
      role: 'server',
      speaker: 'edge',
      hears: ['daemon', 'service', 'plugin'],
      log,
      onStream: offered => offered.reject(problem('DESTINATION_FORBIDDEN', requestId, { speaker: 'edge' })),
      onMessage: message => connection && hear(message, connection, context),
    },
    { log, signal },
  )
  const proved = certificateOf(admission.identities)?.connectorId
  using _announced = await announceGrantKeys(tunnel, { tunnelId, connectorId: proved }, context)
  connection = join(tunnel, admission, context)
  if (connection === undefined) return
  const mine = connection
  const { id, connectorId, since } = mine
  const forget = live.keepConnector(admission, reason => {
    // First: who comes now is served by another daemon.
    routes.remove(mine)
    tunnel.cut(reason)
  })
  log.info('a daemon connected', { tunnel: tunnelId, connector: connectorId, connection: id, remoteAddress })
  const error = await tunnel.closed
  forget()
  routes.remove(mine)
  log.info('a daemon’s connection ended', { tunnel: tunnelId, connection: id, code: error?.code })
  const detail = { tunnel: tunnelId, connector: connectorId, connection: id, ms: Date.now() - since, ...saidBy(error) }
  note(store, admission, { action: 'connector.end', code: error?.code, detail })
}

/** Makes a connection a way to its tunnel. @returns undefined when it was cut: put out before, or what it says cannot be */
function join(tunnel: Tunnel, admission: ConnectorAdmission, context: WayContext): Connection | undefined {
  const { routes, store, log } = context
  const { tunnelId, remoteAddress, identities } = admission
  try {
    const { connector, ...said } = readSaid(tunnel.peerAbout)
    const id = randomUUID()
    const proved = certificateOf(identities)
    const connectorId = proved?.connectorId ?? connector ?? id
    routes.checkEvicted(tunnelId, connectorId)
    if (routes.count(tunnelId) >= MOST_CONNECTIONS)
      throw new PosternError('LIMIT_EXCEEDED', 'the tunnel has as many connections as it may', { speaker: 'edge' })
    const tokenId = tokenIdOf(tunnelId, identities)
    const token = tokenId !== undefined && { tokenId }
    const connection: Connection = {
      ...said,
      id,
      tunnelId,
      connectorId,
      ...token,
      ...proved,
      remoteAddress,
      since: Date.now(),
      tunnel,
      admission,
    }
    const { here, others } = routes.known(tunnelId, connectorId, remoteAddress)
    routes.add(connection)
    if (!here) {
      const detail = { tunnel: tunnelId, connector: connectorId, ...said, ...token, ...proved, others }
      note(store, admission, { action: 'connector.joined', detail })
      if (others > 0) log.warn('another daemon joined a tunnel', { ...detail, remoteAddress })
    }
    return connection
  } catch (thrown) {
    const error = PosternError.from(thrown)
    note(store, admission, { action: 'connector.refused', allowed: false, code: error.code })
    tunnel.cut(error)
    return undefined
  }
}

/** What a daemon tells beside its streams. */
function hear(message: HostMessage, connection: Connection, context: WayContext): void {
  if (message.type === 'note') noteNote(message, connection, context)
  // Of one that proved no certificate: it may be anybody with the tunnel's token.
  if (connection.fingerprint === undefined) return
  if (message.type === 'coming') context.joins.comes(message, connection)
  if (message.type === 'decline') context.joins.decline(message, connection)
  if (message.type === 'report') noteReport(message, connection, context)
}

/** A stream that the edge did not see: the daemon's own word, about a session that this very daemon has or just had. */
function noteReport(report: ReportMessage, connection: Connection, { joins, store, authorizer }: WayContext): void {
  const { service, up: sent, down: received, ms, code, lost } = report
  const admission = joins.reported(report, connection)
  const key = `report\0${connection.tunnelId} ${connection.connectorId}`
  if (admission === undefined || !authorizer.isNoted(key, MOST_REPORTS)) return
  const how = { mode: 'end-to-end', said: 'daemon', service, sent, received, ms }
  const detail = { ...how, ...(lost !== undefined && { lost }) }
  note(store, admission, { action: 'stream.end', code, detail })
}

/** What the protocol of a stream saw: the daemon's own word, about a stream that it got from here, or from the client itself. */
function noteNote(told: NoteMessage, connection: Connection, { joins, hops, store, authorizer }: WayContext): void {
  const { sid, service, action: saw, allowed, detail: facts } = told
  const { tunnelId, connectorId, fingerprint } = connection
  const joined = fingerprint === undefined ? undefined : joins.reported(told, connection)
  const admission = joined ?? hops.noted(sid, tunnelId)
  if (admission === undefined || !authorizer.isNoted(`note\0${tunnelId} ${connectorId}`, MOST_REPORTS)) return
  const how = { mode: joined ? 'end-to-end' : 'hop', said: 'daemon', service, saw }
  const detail = { ...how, ...(facts !== undefined && { facts }) }
  note(store, admission, { action: 'stream.note', allowed, detail })
}

/** Which of the tunnel's tokens it was: the verifier names it in the key that revokes it alone. */
function tokenIdOf(tunnelId: string, identities: readonly Identity[]): string | undefined {
  const prefix = `tunnel-token:${tunnelId}:`
  const key = identities.flatMap(({ revokeKeys }) => revokeKeys).find(one => one.startsWith(prefix))
  return key?.slice(prefix.length)
}

/** Which of the tunnel's daemons it is, where it proved a certificate: what it says itself counts no more then. */
export function certificateOf(
  identities: readonly Identity[],
): Pick<Connection, 'connectorId' | 'fingerprint'> | undefined {
  const { connector, certificate } = identities.find(({ claims }) => 'certificate' in claims)?.claims ?? {}
  return typeof connector === 'string' && typeof certificate === 'string'
    ? { connectorId: connector, fingerprint: certificate }
    : undefined
}
