import type { Tunnel } from '@postern/tunnel'
import type { WayContext } from './context.ts'

/**
 * Tells a daemon that serves end-to-end sessions by which keys grants are signed: now, before it is joined to anybody, and after each
 * rotation, one after the other. Dispose it at the end of the connection.
 *
 * @param to.connectorId as it proved it; undefined: it proved none, and is told nothing
 */
export async function announceGrantKeys(
  tunnel: Tunnel,
  to: { readonly tunnelId: string; readonly connectorId: string | undefined },
  { grants, log }: Pick<WayContext, 'grants' | 'log'>,
): Promise<Disposable> {
  const { tunnelId, connectorId: connector } = to
  if (connector === undefined || tunnel.peerAbout?.join !== 1) return { [Symbol.dispose]() {} }
  const aud = { tunnel: tunnelId, connector }
  const tell = async () => {
    try {
      const token = await grants.announce(aud)
      if (!tunnel.tell({ type: 'grant-keys', token })) log.debug('a daemon is not told the keys of grants', aud)
    } catch (error) {
      log.warn('the keys of grants cannot be told to a daemon', { ...aud, error: String(error) })
    }
  }
  let turn = Promise.resolve()
  const inTurn = () => {
    turn = turn.then(tell)
    return turn
  }
  const forget = grants.onRotate(() => void inTurn())
  await inTurn()
  return { [Symbol.dispose]: forget }
}
