import type { ApplicationRecord } from '@postern/store'
import type { AccessAdmission } from '../authorize/authorize.ts'
import type { Exchange } from '../front/exchange.ts'
import { note } from '../ways/context.ts'
import type { HttpContext } from './context.ts'
import { pairsOf } from './headers.ts'

/**
 * Whether a request is a browser's question before another one (Fetch §3.2.2), which carries no credential, and the application
 * wants to answer those itself.
 */
export function isPreflight(
  { method, presented: { headers }, request }: Exchange,
  { options }: ApplicationRecord,
): boolean {
  if (options?.preflight !== true || method !== 'OPTIONS') return false
  if (headers.origin?.length !== 1 || headers['access-control-request-method']?.length !== 1) return false
  // Over HTTP/2 a body needs no word in the head.
  if ('stream' in request && !request.stream.endAfterHeaders) return false
  return headers['transfer-encoding'] === undefined && (headers['content-length'] ?? ['0']).every(one => one === '0')
}

/** What could say who asks: a preflight has none of it, and what only looks like one takes none of it along. */
export function withoutCredentials(raw: readonly string[]): string[] {
  const dropped = new Set(['cookie', 'authorization'])
  return pairsOf(raw)
    .filter(([name]) => !dropped.has(name.toLowerCase()))
    .flat()
}

/** One row a minute for each address and application. @returns whether the audit log takes rows */
export function notePreflight(nobody: AccessAdmission, { authorizer, store }: HttpContext): boolean {
  if (!store.auditable) return false
  if (authorizer.isNoted(`preflight\0${nobody.hostname}\0${nobody.remoteAddress}`, 2)) {
    note(store, nobody, { action: 'access.decide', allowed: true, detail: { purpose: 'preflight' } })
  }
  return true
}
