import type { Json } from '@postern/interface'
import { MOST_TUNNEL_TOKENS } from '@postern/tokens'

/** One secret of a tunnel; several may be good at once while one replaces another. */
export interface KnownHash {
  /** Made by `createTunnelToken` of @postern/tokens. */
  readonly hash: string
  /** Milliseconds since the epoch, here and below. */
  readonly createdAt?: number
  readonly expiresAt?: number
  readonly revokedAt?: number
}

/**
 * The record of a tunnel: `{ hashes: [{ hash, createdAt?, expiresAt?, revokedAt? }] }`.
 *
 * @returns undefined for anything that is not a whole record: what cannot be read lets nobody in
 */
export function readRecord(value: Json | undefined): readonly KnownHash[] | undefined {
  if (!isObject(value) || !Array.isArray(value.hashes)) return undefined
  const known = value.hashes.map(readHash)
  return known.length <= MOST_TUNNEL_TOKENS && known.every(one => one !== undefined) ? known : undefined
}

function readHash(value: Json): KnownHash | undefined {
  if (!isObject(value)) return undefined
  const { hash, createdAt, expiresAt, revokedAt } = value
  if (typeof hash !== 'string' || ![createdAt, expiresAt, revokedAt].every(isTime)) return undefined
  return value as unknown as KnownHash
}

function isObject(value: Json | undefined): value is { readonly [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isTime(value: Json | undefined): value is number | undefined {
  return value === undefined || (typeof value === 'number' && Number.isFinite(value))
}
