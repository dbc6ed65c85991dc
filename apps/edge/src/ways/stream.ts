import type { Duplex } from 'node:stream'
import { type Call, PosternError } from '@postern/interface'
import { type Pumped, pump } from '@postern/pump'
import { ownedBy, type Place } from '@postern/tunnel'
import type { AccessAdmission } from '../authorize/authorize.ts'
import { note, noteRefused, saidBy, type WayContext, whoseOf } from './context.ts'

/**
 * One stream to the daemon, after its service answered.
 *
 * @throws PosternError AUDIT_UNAVAILABLE, LIMIT_EXCEEDED, TUNNEL_OFFLINE, the daemon's or the service's refusal;
 *   `call.signal.reason`
 */
export async function openToDaemon(admission: AccessAdmission, context: WayContext, call: Call): Promise<Duplex> {
  const { routes, hops } = context
  const { hostname, requestId, identities, permit, application } = admission
  const { tunnelId } = application
  let place: Place | undefined
  const forget = hops.begin(admission)
  const leave = () => {
    place?.release()
    forget()
  }
  try {
    place = await placeOf(admission, context, call)
    const daemon = await routes.open(tunnelId, { hostname, requestId, purpose: 'tcp', identities, permit }, call)
    place.answered()
    ownedBy(daemon, place.room)
    if (daemon.closed) leave()
    else daemon.once('close', leave)
    return daemon
  } catch (error) {
    leave()
    noteRefused(context, admission, PosternError.from(error).code, error)
    throw error
  }
}

/**
 * A visitor's place among those of the application's tunnel, for one pipe or stream to a daemon.
 *
 * @throws PosternError AUDIT_UNAVAILABLE, LIMIT_EXCEEDED; `call.signal.reason`
 */
export async function placeOf(
  admission: AccessAdmission,
  { store, routes, shares, memory }: WayContext,
  { signal }: Call,
): Promise<Place> {
  if (!store.auditable)
    throw new PosternError('AUDIT_UNAVAILABLE', 'the audit log cannot be written', { speaker: 'edge' })
  const whose = whoseOf(admission)
  if (memory.isFull(shares.behind(whose.visitor)))
    throw new PosternError('LIMIT_EXCEEDED', 'the edge holds as much as it may for slow readers', { speaker: 'edge' })
  return shares.take(whose, routes.count(admission.application.tunnelId), signal)
}

/**
 * The same for a client's pipe that is joined to one of a daemon's: a session, and a stream to the daemon.
 *
 * @throws PosternError AUDIT_UNAVAILABLE, LIMIT_EXCEEDED; `call.signal.reason`
 */
export async function joinPlaceOf(admission: AccessAdmission, context: WayContext, call: Call): Promise<Place> {
  const leave = context.shares.begin(whoseOf(admission))
  try {
    const place = await placeOf(admission, context, call)
    const release = () => {
      place.release()
      leave()
    }
    return { room: place.room, answered: () => place.answered(), release }
  } catch (error) {
    leave()
    throw error
  }
}

/** Bytes that wait on each side of a connection for a slow reader; a quarter of it once there are many connections. */
const HIGH_WATER = 1024 * 1024
const WIDE = 256

/** How many bytes may wait for each side of one more connection. */
export function highWaterOf({ carried }: Pick<WayContext, 'carried'>): number {
  return carried.size < WIDE ? HIGH_WATER : HIGH_WATER / 4
}

/** Carries one stream until both directions are done, and notes how it went. */
export async function carry(
  visitor: Duplex,
  daemon: Duplex,
  admission: AccessAdmission,
  context: WayContext,
  signal?: AbortSignal,
): Promise<Pumped> {
  const started = Date.now()
  const work = pump(visitor, daemon, { highWater: highWaterOf(context), ...(signal && { signal }) })
  context.carried.add(work)
  const pumped = await work
  context.carried.delete(work)
  const { sent, received, error } = pumped
  const code = error === undefined ? undefined : PosternError.from(error, 'STREAM_CUT').code
  const detail = { sent, received, ms: Date.now() - started, ...saidBy(error) }
  note(context.store, admission, { action: 'stream.end', code, detail })
  return pumped
}
