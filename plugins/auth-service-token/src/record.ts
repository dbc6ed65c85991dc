import type { Json } from '@postern/interface'

/** What the edge keeps of a service token, under its id. */
export interface TokenRecord {
  readonly name: string
  /** Made by `hashSecret` of @postern/tokens. */
  readonly hash: string
  /** Milliseconds since the epoch, here and below. */
  readonly createdAt?: number
  readonly expiresAt?: number
  readonly revokedAt?: number
  /** The secret before the last rotation, good until then. */
  readonly previous?: { readonly hash: string; readonly expiresAt: number }
}

/** @returns undefined for anything that is not a whole record: what cannot be read lets nobody in */
export function readRecord(value: Json | undefined): TokenRecord | undefined {
  if (!isObject(value)) return undefined
  const { name, hash, createdAt, expiresAt, revokedAt, previous } = value
  if (typeof name !== 'string' || typeof hash !== 'string') return undefined
  if (![createdAt, expiresAt, revokedAt].every(time => time === undefined || isTime(time))) return undefined
  if (previous !== undefined && !isPrevious(previous)) return undefined
  return value as unknown as TokenRecord
}

function isPrevious(value: Json): boolean {
  return isObject(value) && typeof value.hash === 'string' && isTime(value.expiresAt)
}

function isObject(value: Json | undefined): value is { readonly [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isTime(value: Json | undefined): value is number {
  return typeof value === 'number' && Number.isFinite(value)
}
