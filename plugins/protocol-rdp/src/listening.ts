import { type LocalListener, type LocalSide, PosternError } from '@postern/interface'

/** Where a program of this machine connects. */
export interface Place {
  /** As it stands in a URL: an address of IPv6 has its brackets. */
  readonly host: string
  readonly port: number
}

/**
 * A local port, for clients that know nothing else.
 *
 * @throws PosternError OPTION_INVALID: a Unix socket, or no listener
 */
export function portOf({ listener }: Pick<LocalSide, 'listener'>, what: string): Place & { listener: LocalListener } {
  const [, host, port] = /^(\[[0-9a-f:.]+\]|[\d.]+):(\d{1,5})$/.exec(listener?.address ?? '') ?? []
  if (listener === undefined || host === undefined)
    throw new PosternError('OPTION_INVALID', `${what} needs a local port`, { next: 'Write --url localhost:PORT.' })
  const everywhere: Record<string, string> = { '0.0.0.0': '127.0.0.1', '[::]': '[::1]' }
  return { host: everywhere[host] ?? host, port: Number(port), listener }
}
