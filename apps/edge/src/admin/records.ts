import type { Role } from '@postern/admin'
import type { Json } from '@postern/interface'
import type { Selector } from '@postern/policy'
import type { Snapshot } from '@postern/store'

/** Namespaces of the store. The first two are shared with the plugins that verify what is kept there. */
export const SERVICE_TOKENS = 'service-token'
export const TUNNEL_TOKENS = 'tunnel-token'
export const ADMIN_TOKENS = 'admin-token'
export const SETUP_TOKENS = 'setup-token'
export const CONNECTOR_SETUPS = 'connector-setup'
export const SIGNING_REQUESTS = 'signing-request'

/** Milliseconds since the epoch, each. */
export interface Lives {
  readonly createdAt?: number
  readonly expiresAt?: number
  readonly revokedAt?: number
}

export interface ServiceTokenRecord extends Lives {
  readonly name: string
  readonly hash: string
  /** The secret before the last rotation, good until then. */
  readonly previous?: { readonly hash: string; readonly expiresAt: number }
}

export interface AdminTokenRecord extends Lives {
  readonly name: string
  readonly role: Role
  readonly hash: string
}

export interface SetupTokenRecord {
  readonly hash: string
  readonly expiresAt: number
}

/** One secret of a tunnel. */
export interface TunnelHash extends Lives {
  readonly hash: string
  /** The daemon it was made for. */
  readonly connector?: string
}

export function serviceTokensOf(snapshot: Snapshot): ReadonlyMap<string, ServiceTokenRecord> {
  return rowsOf(snapshot, SERVICE_TOKENS, isNamed) as ReadonlyMap<string, ServiceTokenRecord>
}

export function adminTokensOf(snapshot: Snapshot): ReadonlyMap<string, AdminTokenRecord> {
  return rowsOf(snapshot, ADMIN_TOKENS, row => isNamed(row) && (row.role === 'viewer' || row.role === 'admin'))
}

export function setupTokensOf(snapshot: Snapshot): ReadonlyMap<string, SetupTokenRecord> {
  return rowsOf(snapshot, SETUP_TOKENS, row => typeof row.hash === 'string' && typeof row.expiresAt === 'number')
}

export function tunnelHashesOf(snapshot: Snapshot, tunnelId: string): readonly TunnelHash[] {
  const row = snapshot.records.get(TUNNEL_TOKENS)?.get(tunnelId)
  return isRow(row) && Array.isArray(row.hashes) ? (row.hashes as unknown as readonly TunnelHash[]) : []
}

/** Whether something that lives is good: neither revoked nor expired. */
export function isGood({ expiresAt, revokedAt }: Lives, now: number): boolean {
  return (revokedAt === undefined || revokedAt > now) && (expiresAt === undefined || expiresAt > now)
}

/** Setting: selectors of the people who administer in the browser. */
export const ADMINISTRATORS = 'administrators'

export function administratorsOf(snapshot: Snapshot): readonly Selector[] {
  const kept = snapshot.settings.get(ADMINISTRATORS)
  return Array.isArray(kept) ? (kept as unknown as readonly Selector[]) : []
}

/** Whether somebody can administer the edge, with a token or in the browser. */
export function isAdministered(snapshot: Snapshot, now: number): boolean {
  if (administratorsOf(snapshot).length > 0) return true
  return [...adminTokensOf(snapshot).values()].some(one => one.role === 'admin' && isGood(one, now))
}

/** As it is answered. */
export function livesOf({ createdAt, expiresAt, revokedAt }: Lives): Shown<Lives> {
  return {
    ...(createdAt !== undefined && { createdAt: instantOf(createdAt) }),
    ...(expiresAt !== undefined && { expiresAt: instantOf(expiresAt) }),
    ...(revokedAt !== undefined && { revokedAt: instantOf(revokedAt) }),
  }
}

type Shown<T> = { -readonly [K in keyof T]: string }

export function instantOf(milliseconds: number): string {
  return new Date(milliseconds).toISOString()
}

/** A record as the store takes it. */
export function rowOf(record: Lives): Json {
  return { ...record }
}

type Row = { readonly [key: string]: Json }

/** Rows that can be read; what cannot lets nobody in. */
export function rowsOf<R>(snapshot: Snapshot, namespace: string, fits: (row: Row) => boolean): ReadonlyMap<string, R> {
  const rows = [...(snapshot.records.get(namespace) ?? [])]
  return new Map(rows.filter(([, row]) => isRow(row) && fits(row)) as [string, R][])
}

function isRow(value: Json | undefined): value is Row {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isNamed({ name, hash, expiresAt, revokedAt }: Row): boolean {
  const isTime = (time: Json | undefined) => time === undefined || typeof time === 'number'
  return typeof name === 'string' && typeof hash === 'string' && isTime(expiresAt) && isTime(revokedAt)
}
