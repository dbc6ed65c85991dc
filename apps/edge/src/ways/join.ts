import { X509Certificate } from 'node:crypto'
import { type Call, type Incoming, type Pipe, PosternError, problem, type SentHeaders } from '@postern/interface'
import { cut, type Room, takeRoom } from '@postern/pump'
import { type AccessAdmission, actorOf } from '../authorize/authorize.ts'
import type { Connection } from '../routes/routes.ts'
import { note, refusalOf, saidBy, type WayContext, whoseOf } from './context.ts'
import { copy } from './copy.ts'
import { Farewell } from './farewell.ts'
import type { Leg } from './joins.ts'
import { noteRaced, oneOf } from './leg.ts'
import { acceptHeaders, serveSession } from './session.ts'
import { joinPlaceOf } from './stream.ts'

/** The header in which a client names the key of its session. */
const KEY_HEADER = 'postern-key'
const KEY = /^sha256:[0-9a-f]{64}$/

/** Daemons of a tunnel that are asked for one client. */
const MOST_ASKED = 4

/** A client's pipe, joined to one that a daemon dials for it: what goes through is theirs, and not the edge's to read. */
interface Joint {
  /** The daemon said that it comes, or is there. @throws as a client's waiting for it does */
  readonly leg: Promise<Leg>
  readonly connection: Connection
  readonly headers: SentHeaders
  /** Aborted when the client may not be joined any more. */
  readonly signal: AbortSignal
}

/**
 * A client that can do without the edge in between: joined to a daemon where there is one that can, served as a session otherwise. Resolves
 * when it is over.
 */
export async function serveJoin(incoming: Incoming, admission: AccessAdmission, context: WayContext): Promise<void> {
  const { live, log } = context
  const { requestId } = admission
  const key = oneOf(incoming.presented, KEY_HEADER)
  if (key === undefined || !KEY.test(key)) {
    const detail = `${KEY_HEADER} is sha256: and 64 hexadecimal digits, once`
    return incoming.reject(problem('BAD_USAGE', requestId, { speaker: 'edge', detail }))
  }
  const able = joinable(admission, context)
  if (able.length === 0) return serveSession(incoming, admission, context)
  const stop = new AbortController()
  const signal = AbortSignal.any([context.signal, stop.signal])
  const forget = live.keepAccess(admission, reason => stop.abort(reason))
  try {
    const place = await joinPlaceOf(admission, context, { log, signal })
    try {
      if (context.draining()) throw new PosternError('DRAINING', 'the edge is about to stop', { speaker: 'edge' })
      const joint = await jointFor(admission, able, key, context, { log, signal })
      if (joint === undefined) place.answered()
      else joint.leg.then(() => place.answered(), ignore)
      if (joint !== undefined)
        return await carryJoint(incoming, { ...joint, room: place.room }, admission, context, stop)
    } finally {
      place.release()
    }
  } catch (error) {
    return await refuse(incoming, error, admission, context)
  } finally {
    forget()
  }
  return serveSession(incoming, admission, context)
}

/** Connections whose daemons dial for clients, and are known by what they proved; whose turn it is comes first. */
function joinable(
  { application: { tunnelId } }: AccessAdmission,
  { routes, store }: WayContext,
): readonly Connection[] {
  if (store.snapshot.tunnels.get(tunnelId)?.identity === undefined) return []
  return routes.inTurn(tunnelId).filter(({ joins, fingerprint }) => joins === true && fingerprint !== undefined)
}

/**
 * Asks one daemon after the other, each once: where one of them has to do without end-to-end sessions now, another may not have to.
 *
 * @returns undefined: no daemon comes, and that is no failure
 */
async function jointFor(
  admission: AccessAdmission,
  able: readonly Connection[],
  cnf: string,
  context: WayContext,
  call: Call,
): Promise<Joint | undefined> {
  const { joins, legs } = context
  const { requestId, hostname } = admission
  const declined = new Set<string>()
  for (const connection of able) {
    if (declined.size >= MOST_ASKED) return undefined
    if (declined.has(connection.connectorId)) continue
    const headers = await answerFor(admission, connection, cnf, context)
    call.signal.throwIfAborted()
    if (headers === undefined) return undefined
    const waiting = joins.wait(connection, admission)
    const leg = waiting.leg(call)
    const { ticket } = waiting
    const visitor = joins.tagOf(whoseOf(admission).visitor)
    const join = { type: 'join', ticket, requestId, hostname, visitor, ...(legs.length > 0 && { legs }) } as const
    if (!connection.tunnel.tell(join)) {
      joins.take(ticket, connection)?.giveUp()
      await leg
      continue
    }
    const isComing = await Promise.race([waiting.announced.then(() => true), leg.then(came => came !== undefined)])
    if (isComing) return { leg: leg.then(hasCome), connection, headers, signal: call.signal }
    declined.add(connection.connectorId)
  }
  return undefined
}

/** @throws PosternError STREAM_CUT: it said that it comes, and changed its mind */
function hasCome(leg: Leg | undefined): Leg {
  if (leg !== undefined) return leg
  throw new PosternError('STREAM_CUT', 'the daemon did not come after all', { speaker: 'daemon' })
}

/** What the client is told, the grant with it. @returns undefined: it is too much for a grant, and goes through the edge */
async function answerFor(
  admission: AccessAdmission,
  { tunnelId, connectorId }: Connection,
  cnf: string,
  { store, grants, teamDomain, log }: WayContext,
): Promise<SentHeaders | undefined> {
  const { requestId, hostname, identities, permit } = admission
  const identity = store.snapshot.tunnels.get(tunnelId)?.identity
  if (identity === undefined) return undefined
  const aud = { tunnel: tunnelId, connector: connectorId }
  try {
    const jti = crypto.randomUUID()
    const grant = await grants.sign({ aud, jti, sid: requestId, hostname, identities, permit, cnf })
    return {
      ...acceptHeaders(admission, teamDomain),
      'postern-mode': 'end-to-end',
      'postern-grant': grant,
      'postern-tunnel-identity': new X509Certificate(identity).raw.toString('base64'),
    }
  } catch (error) {
    log.warn('a grant cannot be signed, so the client goes through the edge', { requestId, error: String(error) })
    return undefined
  }
}

/** The client hears yes while the daemon comes, and everything goes through from then until both directions are done. */
async function carryJoint(
  incoming: Incoming,
  { leg, connection, headers, signal: wanted, room }: Joint & { readonly room: Room },
  admission: AccessAdmission,
  context: WayContext,
  stop: AbortController,
): Promise<void> {
  const { joins, live, store, signal } = context
  const started = Date.now()
  // A daemon that is put out is told nothing, and asked for nothing.
  const gone = new AbortController()
  let forget = ignore
  const end = joins.begin(admission, connection, reason => stop.abort(reason))
  using farewell = new Farewell(stop.signal, reason => tellWhy(reason, admission, connection, context))
  try {
    stop.signal.throwIfAborted()
    const raced = (...addresses: [string, string]) => noteRaced('client', addresses, admission, context)
    const [client, daemon] = await both(incoming.accept(headers, { raced, signal: wanted }), leg)
    forget = live.keepConnector(daemon.admission, reason => gone.abort(reason))
    takeRoom(daemon.pipe, room)
    const pumped = await copy(client, daemon.pipe, context, AbortSignal.any([signal, gone.signal, farewell.signal]))
    const { sent, received } = pumped
    // Whoever was quicker than the cut, daemon or client: it is the edge that ended it.
    const error: unknown = stop.signal.aborted ? stop.signal.reason : pumped.error
    const code = error === undefined ? undefined : PosternError.from(error, 'STREAM_CUT').code
    const { connectorId: connector, id } = connection
    const how = { mode: 'end-to-end', connector, connection: id, sent, received, ms: Date.now() - started }
    note(store, admission, { action: 'session.end', code, detail: { ...how, ...saidBy(error) } })
  } catch (error) {
    leg.then(({ pipe }) => cut(pipe, PosternError.from(error)), ignore)
    throw error
  } finally {
    forget()
    end()
  }
}

/** Whichever is there first waits, unread. Where the daemon does not come, the client is cut. */
async function both(accepting: Promise<Pipe>, leg: Promise<Leg>): Promise<readonly [Pipe, Leg]> {
  accepting.then(pipe => pipe.on('error', ignore), ignore) // until it is joined nobody else listens
  try {
    const [client, daemon] = await Promise.all([accepting, leg])
    if (client.destroyed)
      throw new PosternError('STREAM_CUT', 'the client left while the daemon came', { speaker: 'edge' })
    return [client, daemon]
  } catch (thrown) {
    const error = PosternError.from(thrown)
    accepting.then(pipe => cut(pipe, error), ignore)
    throw error
  }
}

/** Only the daemon can tell the client. @returns whether it hears it, over whichever of its connections */
function tellWhy(
  { code, message }: PosternError,
  { requestId: sid }: AccessAdmission,
  connection: Connection,
  { routes }: WayContext,
): boolean {
  const { tunnelId, connectorId } = connection
  // By certificate: anybody of the tunnel may call itself by that id.
  const others = routes
    .inTurn(tunnelId)
    .filter(one => one !== connection && one.connectorId === connectorId && one.fingerprint !== undefined)
  const words = message !== '' && { message: message.slice(0, 256) }
  return [connection, ...others].some(({ tunnel }) => tunnel.tell({ type: 'join-cut', sid, code, ...words }))
}

async function refuse(
  incoming: Incoming,
  error: unknown,
  admission: AccessAdmission,
  { store, authorizer }: WayContext,
): Promise<void> {
  const refusal = refusalOf(error, admission.requestId)
  if (authorizer.isNoted(`join\0${actorOf(admission.identities)}`)) {
    const detail = { mode: 'end-to-end', ...saidBy(error) }
    note(store, admission, { action: 'session.refused', allowed: false, code: refusal.code, detail })
  }
  // Once it was answered there is nobody to refuse: the transport says so.
  await incoming.reject(refusal)
}

function ignore(): void {}
