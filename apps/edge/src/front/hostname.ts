import { PosternError } from '@postern/interface'

const LONGEST = 253
const LABEL = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?'
const HOSTNAME = new RegExp(`^${LABEL}(?:\\.${LABEL})*$`)
const PORT = /^[1-9][0-9]{0,4}$/

/** Whether a word is a hostname as we keep them: lower case, no trailing dot, no port, at most 253 characters. */
export function isHostname(word: string): boolean {
  return word.length <= LONGEST && HOSTNAME.test(word)
}

/**
 * The one hostname a request is for: exactly one Host, strictly spelled; where the target is in absolute form, the same one.
 *
 * @param hosts every value of Host, as sent
 * @param target the request's target, as sent
 * @returns lower case, without the port
 * @throws PosternError HOSTNAME_INVALID
 */
export function requestedHostname(hosts: readonly string[] | undefined, target: string): string {
  const [host, ...more] = hosts ?? []
  if (host === undefined || more.length > 0) throw invalid('exactly one Host header is wanted')
  const authority = authorityOf(target)
  if (authority !== undefined && authority.toLowerCase() !== host.toLowerCase()) {
    throw invalid('the request’s target and its Host header differ')
  }
  const [name = '', port, ...rest] = host.split(':')
  if (rest.length > 0 || (port !== undefined && !isPort(port))) throw invalid('the Host header is not hostname[:port]')
  // ASCII only: elsewhere a letter may become one of ours in lower case, as the Kelvin sign does.
  const hostname = name.replace(/[A-Z]+/g, letters => letters.toLowerCase())
  if (!isHostname(hostname)) throw invalid('the Host header is not hostname[:port]')
  return hostname
}

/** The authority of a target in absolute form; undefined for a path. */
function authorityOf(target: string): string | undefined {
  if (target.startsWith('/') || target === '*') return undefined
  const [, authority] = /^https?:\/\/([^/?#]*)/i.exec(target) ?? []
  // CONNECT names the authority alone.
  return authority ?? target
}

function isPort(text: string): boolean {
  return PORT.test(text) && Number(text) <= 65_535
}

function invalid(message: string): PosternError {
  return new PosternError('HOSTNAME_INVALID', message, { speaker: 'edge' })
}
