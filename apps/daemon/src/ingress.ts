import { readHostname } from '@postern/client'
import { PosternError } from '@postern/interface'

/** Who may be the other end of a session: the client itself, or the edge that serves it. */
export type Mode = 'end-to-end' | 'hop'

export const MODES: readonly string[] = ['end-to-end', 'hop', 'any']

/** What is reached in one mode only. */
export interface Restricted {
  /** Absent: in either. */
  readonly mode?: Mode
}

/** @throws PosternError OPTION_INVALID */
export function readMode(word: string): Mode | undefined {
  if (word === 'end-to-end' || word === 'hop') return word
  if (word === 'any') return undefined
  throw new PosternError(
    'OPTION_INVALID',
    `the mode ${JSON.stringify(word.slice(0, 64))} is none of ${MODES.join(', ')}`,
  )
}

/** One line of what the daemon serves: an application's hostname, and the service behind it. */
export interface IngressRule extends Restricted {
  readonly hostname: string
  /** With its port filled in, for example `ssh://localhost:22`. */
  readonly service: URL
}

/** The port a scheme means when none is written; undefined when no plugin serves the scheme. */
export type DefaultPort = (scheme: string) => number | 'none' | undefined

/**
 * Reads a rule. The service is `scheme://host:port` (the port may be left out where the scheme has one) or `unix:/path`.
 *
 * @throws PosternError HOSTNAME_INVALID, OPTION_INVALID
 */
export function readRule(hostname: string, service: string, defaultPort: DefaultPort): IngressRule {
  return { hostname: readHostname(hostname).hostname, service: readService(service, defaultPort) }
}

const SCHEME =
  'Write it as SCHEME://HOST:PORT, for example tcp://localhost:5432. A scheme of a plugin needs that plugin: --plugin PACKAGE, or plugins: in the config file.'

/** @throws PosternError OPTION_INVALID */
export function readService(service: string, defaultPort: DefaultPort): URL {
  // What is before an @ may be a password, also where the URL is too wrong to tell.
  const told = service.startsWith('unix:') ? service : service.replace(/:(\/\/)?.*@/s, ':$1…@')
  const bad = (why: string, next?: string) =>
    new PosternError('OPTION_INVALID', `the service ${JSON.stringify(told)} ${why}`, { ...(next && { next }) })
  const url = URL.canParse(service) ? new URL(service) : undefined
  if (!url) throw bad('is not a URL such as ssh://localhost:22')
  const scheme = url.protocol.slice(0, -1)
  const port = defaultPort(scheme)
  if (port === undefined) throw bad(`has the scheme ${scheme}:, which no plugin of this daemon serves`, SCHEME)
  if (url.username || url.password) throw bad('has a user or password in it; a service has neither')
  if (scheme === 'unix') {
    if (url.host) throw bad('names a host; a socket is on this machine')
    if (!url.pathname.startsWith('/')) throw bad('needs an absolute path, for example unix:/run/app.sock')
    if (url.search || url.hash || !isDecodable(url.pathname))
      throw bad('has a ? # or % that is not part of a path; write %3F, %23 and %25')
  } else {
    if (!url.hostname) throw bad('names no host')
    if (!url.port && port !== 'none') url.port = String(port)
    if (portOf(url) === 0) throw bad('names no port')
    if ((url.pathname !== '' && url.pathname !== '/') || url.search || url.hash)
      throw bad('has a path; a service is a host and a port')
  }
  return url
}

function isDecodable(path: string): boolean {
  try {
    return !decodeURIComponent(path).includes('\0')
  } catch {
    return false
  }
}

/** A URL hides the port of these when it is their own. */
const WEB_PORTS: Readonly<Record<string, number>> = { 'http:': 80, 'https:': 443, 'ws:': 80, 'wss:': 443, 'ftp:': 21 }

/** The port of a service; 0 when it names none. */
export function portOf(service: URL): number {
  return Number(service.port) || (WEB_PORTS[service.protocol] ?? 0)
}

/** A service the way people write it. */
export function showService(service: URL): string {
  return service.protocol === 'unix:' ? `unix:${service.pathname}` : `${service.protocol}//${service.host}`
}

/** What answers, the way people write it. */
export function showTarget(service: URL | number): string {
  return typeof service === 'number' ? `http_status:${service}` : showService(service)
}
