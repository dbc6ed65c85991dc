import type { Json } from '@postern/interface'

/** What the edge keeps of a service token, under its id. */
export interface TokenRecord {
  readonly name: string
  /** Made by `hashSecret` of @postern/tokens. */
  readonly hash: string
  /** Milliseconds since the epoch. */
  readonly expiresAt?: number
  readonly revokedAt?: number
}

/** @returns undefined for anything that is not a whole record: what cannot be read lets nobody in */
export function readRecord(value: Json | undefined): TokenRecord | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  const { name, hash, expiresAt, revokedAt } = value as { readonly [key: string]: Json }
  if (typeof name !== 'string' || typeof hash !== 'string') return undefined
  if (!isTime(expiresAt) || !isTime(revokedAt)) return undefined
  return { name, hash, ...(expiresAt !== undefined && { expiresAt }), ...(revokedAt !== undefined && { revokedAt }) }
}

function isTime(value: Json | undefined): value is number | undefined {
  return value === undefined || (typeof value === 'number' && Number.isFinite(value))
}
