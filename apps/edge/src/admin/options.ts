import type { ApplicationOptions as Sent } from '@postern/admin'
import { type Json, PosternError } from '@postern/interface'
import type { ApplicationOptions } from '@postern/store'

/**
 * Options as they are kept: what is as it would be without is left out.
 *
 * @throws PosternError BAD_USAGE: an origin in another spelling than browsers’
 */
export function readOptions(sent: Sent | undefined, hostname: string): { readonly options?: ApplicationOptions } {
  for (const [index, origin] of (sent?.upgradeOrigins ?? []).entries()) {
    if (URL.parse(origin)?.origin === origin) continue
    const message = `${hostname}: options.upgradeOrigins[${index}] is no origin as browsers write it`
    throw new PosternError('BAD_USAGE', message, { speaker: 'edge', next: 'For example https://app.example.com.' })
  }
  const set = Object.entries(sent ?? {}).filter(([, value]) => value !== false && !isEmpty(value))
  return set.length > 0 ? { options: Object.fromEntries(set) } : {}
}

export function sentOptions({ upgradeOrigins, ...options }: ApplicationOptions): Sent {
  return { ...options, ...(upgradeOrigins !== undefined && { upgradeOrigins: [...upgradeOrigins] }) }
}

/** Characters of either side in an audit row. */
const MOST_TOLD = 400

/** What an audit row says of a change of options; nothing where there is none. */
export function optionsChanged(
  before: ApplicationOptions | undefined,
  after: ApplicationOptions | undefined,
): { readonly options?: Json } {
  if (JSON.stringify(before) === JSON.stringify(after)) return {}
  return { options: { before: told(before), after: told(after) } }
}

function told(options: ApplicationOptions = {}): Json {
  return JSON.stringify(options).length <= MOST_TOLD ? { ...options } : { left: 'out', set: Object.keys(options) }
}

function isEmpty(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0
}
