import type { Duplex } from 'node:stream'
import { type Call, PosternError } from '@postern/interface'
import { type Pumped, pump } from '@postern/pump'
import type { AccessAdmission } from '../authorize/authorize.ts'
import { note, type WayContext } from './context.ts'

/**
 * One stream to the daemon, after its service answered.
 *
 * @throws PosternError AUDIT_UNAVAILABLE, TUNNEL_OFFLINE, the daemon's or the service's refusal; `call.signal.reason`
 */
export async function openToDaemon(admission: AccessAdmission, context: WayContext, call: Call): Promise<Duplex> {
  const { store, routes } = context
  const { hostname, requestId, identities, permit, application } = admission
  try {
    if (!store.auditable)
      throw new PosternError('AUDIT_UNAVAILABLE', 'the audit log cannot be written', { speaker: 'edge' })
    return await routes.open(application.tunnelId, { hostname, requestId, purpose: 'tcp', identities, permit }, call)
  } catch (error) {
    note(store, admission, { action: 'stream.refused', allowed: false, code: PosternError.from(error).code })
    throw error
  }
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
  const work = pump(visitor, daemon, signal === undefined ? {} : { signal })
  context.carried.add(work)
  const pumped = await work
  context.carried.delete(work)
  const { sent, received, error } = pumped
  const code = error === undefined ? undefined : PosternError.from(error, 'STREAM_CUT').code
  note(context.store, admission, { action: 'stream.end', code, detail: { sent, received, ms: Date.now() - started } })
  return pumped
}
