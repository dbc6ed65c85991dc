import type { Json } from '@postern/interface'

/** What a CA’s own revocation list says, row `crl.<ca id>`: `{ nextUpdate?, serials }`. */
export interface RevocationList {
  /** Milliseconds since the epoch: it is not known what was revoked after it. */
  readonly nextUpdate: number
  readonly serials: ReadonlySet<string>
}

const READ = new WeakMap<object, RevocationList | undefined>()

/** @returns undefined for what cannot be read: nobody is let in by it */
export function readRevocationList(value: Json): RevocationList | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  const known = READ.get(value)
  if (known !== undefined) return known
  const { nextUpdate = Number.MAX_SAFE_INTEGER, serials } = value as { readonly [key: string]: Json }
  const isWhole =
    typeof nextUpdate === 'number' && Array.isArray(serials) && serials.every(one => typeof one === 'string')
  if (!isWhole) return undefined
  const list = { nextUpdate, serials: new Set<string>(serials) }
  READ.set(value, list)
  return list
}
