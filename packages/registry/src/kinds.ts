import type { Kind, Side } from '@postern/interface'

/** The verbs that what `create` returns must have, per kind and side. `door` is a word, not a verb: see {@link DOORS}. */
export const VERBS: { readonly [K in Kind]: { readonly [S in Side<K>]: readonly string[] } } = {
  auth: { client: ['authenticate'], edge: ['verify'] },
  transport: { client: ['dial'], edge: ['mount'] },
  protocol: { client: ['connect'], origin: ['serve'], edge: ['check'] },
}

/** The doors an edge may have. A transport's edge side names the one it wants. */
export const DOORS: readonly string[] = ['http']

export const KINDS: readonly string[] = Object.keys(VERBS)

export function isKind(value: unknown): value is Kind {
  return typeof value === 'string' && Object.hasOwn(VERBS, value)
}

export function sidesOf(kind: Kind): readonly Side[] {
  return Object.keys(VERBS[kind]) as Side[]
}

export function verbsOf(kind: Kind, side: Side): readonly string[] {
  const verbs: Readonly<Record<string, readonly string[]>> = VERBS[kind]
  return Object.hasOwn(verbs, side) ? verbs[side]! : []
}
