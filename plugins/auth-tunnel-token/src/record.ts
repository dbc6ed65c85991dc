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
  /** The daemon that it was made for. Absent: any of the tunnel's. */
  readonly connector?: string
}

/** A daemon whose certificate was enrolled. */
export interface KnownConnector {
  readonly id: string
  /** `sha256:` and the hexadecimal digits of the SHA-256 of its certificate's DER. */
  readonly fingerprint: string
  /** When the certificate expires. */
  readonly expiresAt: number
  readonly revokedAt?: number
}

export interface KnownTunnel {
  readonly hashes: readonly KnownHash[]
  /** Where it is there, even empty, a token alone is not enough. */
  readonly connectors?: readonly KnownConnector[]
}

/** Daemons of one tunnel that are looked at. */
const MOST_CONNECTORS = 64

/**
 * The record of a tunnel: `{ hashes: [{ hash, createdAt?, expiresAt?, revokedAt?, connector? }], connectors?: [{ id, fingerprint,
 * expiresAt, revokedAt? }] }`.
 *
 * @returns undefined for anything that is not a whole record: what cannot be read lets nobody in
 */
export function readRecord(value: Json | undefined): KnownTunnel | undefined {
  if (!isObject(value)) return undefined
  const hashes = listOf(value.hashes, MOST_TUNNEL_TOKENS, readHash)
  if (hashes === undefined) return undefined
  if (!Object.hasOwn(value, 'connectors')) return { hashes }
  const connectors = listOf(value.connectors, MOST_CONNECTORS, readConnector)
  return connectors && { hashes, connectors }
}

function listOf<T>(
  value: Json | undefined,
  most: number,
  read: (one: Json) => T | undefined,
): readonly T[] | undefined {
  if (!Array.isArray(value) || value.length > most) return undefined
  const all = value.map(read)
  return all.every(one => one !== undefined) ? all : undefined
}

function readConnector(value: Json): KnownConnector | undefined {
  if (!isObject(value)) return undefined
  const { id, fingerprint, expiresAt, revokedAt } = value
  if (typeof id !== 'string' || typeof fingerprint !== 'string' || expiresAt === undefined) return undefined
  return isTime(expiresAt) && isTime(revokedAt) ? (value as unknown as KnownConnector) : undefined
}

function readHash(value: Json): KnownHash | undefined {
  if (!isObject(value)) return undefined
  const { hash, createdAt, expiresAt, revokedAt, connector } = value
  if (typeof hash !== 'string' || ![createdAt, expiresAt, revokedAt].every(isTime)) return undefined
  if (connector !== undefined && typeof connector !== 'string') return undefined
  return value as unknown as KnownHash
}

function isObject(value: Json | undefined): value is { readonly [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isTime(value: Json | undefined): value is number | undefined {
  return value === undefined || (typeof value === 'number' && Number.isFinite(value))
}
