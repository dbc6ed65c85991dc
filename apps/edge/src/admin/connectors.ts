import type { Connector } from '@postern/admin'
import type { Routes } from '../routes/routes.ts'
import { instantOf } from './records.ts'

/** A tunnel's daemons, in the order they came, each with its connections counted. */
export function connectorsOf(routes: Pick<Routes, 'of'>, tunnel: string): Connector[] {
  const byConnector = Map.groupBy(routes.of(tunnel), ({ connectorId }) => connectorId)
  return [...byConnector].flatMap(([id, connections]) => {
    const [first] = connections
    if (first === undefined) return []
    const { version, remoteAddress, tokenId, fingerprint } = first
    return {
      id,
      ...(version !== undefined && { version }),
      remoteAddress,
      remoteAddresses: [...new Set(connections.map(one => one.remoteAddress))],
      since: instantOf(Math.min(...connections.map(({ since }) => since))),
      connections: connections.length,
      ...(tokenId !== undefined && { tokenId }),
      ...(fingerprint !== undefined && { fingerprint }),
    }
  })
}
