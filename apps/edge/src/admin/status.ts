import { type AuditRow, openApi } from '@postern/admin'
import type { Handlers } from './handling.ts'
import { instantOf } from './records.ts'

/** What one answer of the audit log carries unless more is asked for. */
const ROWS = 100

export const STATUS: Handlers<'status.get' | 'whoami.get' | 'openapi.get' | 'audit.list'> = {
  'status.get': ({ software, teamDomain, ownCa, address, origins, store, routes, sessions, plugins }) => ({
    software,
    teamDomain,
    listen: address(),
    url: origins.team,
    ownCa,
    version: store.snapshot.version,
    applications: store.snapshot.applications.size,
    tunnels: store.snapshot.tunnels.size,
    connectors: new Set(routes.all().map(({ tunnelId, connectorId }) => `${tunnelId} ${connectorId}`)).size,
    sessions: sessions.size,
    auditable: store.auditable,
    plugins: [...plugins()],
  }),
  'whoami.get': ({ standing: { actor, role, expiresAt } }) => ({
    actor,
    role: role === 'admin' ? 'admin' : 'viewer',
    ...(expiresAt !== undefined && { expiresAt: instantOf(expiresAt) }),
  }),
  'openapi.get': ({ software }) => openApi(software),
  'audit.list': async ({ store }, { query: { most = ROWS, since, ...filters } }) => {
    const query = { ...filters, most, ...(since !== undefined && { since: Date.parse(since) }) }
    const rows = await store.readAudit(query)
    const last = rows.at(-1)
    return {
      rows: rows.map(({ at, ...row }) => ({ ...row, at: instantOf(at) }) as AuditRow),
      ...(rows.length === most && last !== undefined && { next: last.sequence }),
    }
  },
}
