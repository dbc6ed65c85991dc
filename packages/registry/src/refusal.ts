import { type Code, PosternError } from '@postern/interface'

/** The four things every message about a plugin says. */
export interface Finding {
  /** Which plugin or package, as the user named it. */
  readonly plugin: string
  readonly found: string
  readonly wanted: string
  /** What to do, and who should. */
  readonly fix: string
  readonly cause?: unknown
}

export function refusal(code: Code, { plugin, found, wanted, fix, cause }: Finding): PosternError {
  return new PosternError(code, `plugin ${plugin}: found ${found}; wanted ${wanted}`, {
    next: fix,
    ...(cause !== undefined && { cause }),
  })
}

/** A value from outside in a few words, safe for a terminal. Never throws, whatever the value does when it is looked at. */
export function shown(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (value === null) return 'null'
  if (typeof value === 'string') return JSON.stringify(value.length > 64 ? `${value.slice(0, 64)}…` : value)
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  if (typeof value === 'function') return 'a function'
  try {
    return Array.isArray(value) ? 'a list' : `a value of type ${typeof value}`
  } catch {
    return 'a revoked proxy'
  }
}
