import { PosternError } from '@postern/interface'

const LABEL = /^(?!-)[a-zA-Z0-9-]{1,63}(?<!-)$/

/** A hostname as an application has one, with the edge's port where it is not 443. */
export interface HostAndPort {
  /** Lower case, no trailing dot. */
  readonly hostname: string
  readonly port: number | undefined
}

/**
 * Reads `db.example.com` or `db.localhost:8443`. Strict on purpose (RFC 952 and 1123 letters, digits and hyphens): the name
 * ends in command lines, headers and certificates, and nothing that is not a hostname may get that far.
 *
 * @throws PosternError HOSTNAME_INVALID
 */
export function readHostname(text: string): HostAndPort {
  const [name = '', port, ...more] = text.split(':')
  const good =
    more.length === 0 &&
    name.length <= 253 &&
    name.split('.').every(label => LABEL.test(label)) &&
    !/^[\d.]+$/.test(name)
  const number = port === undefined ? undefined : /^\d{1,5}$/.test(port) ? Number(port) : 0
  if (!good || number === 0 || (number ?? 1) > 65535)
    throw new PosternError('HOSTNAME_INVALID', `${JSON.stringify(text.slice(0, 100))} is not a hostname`, advice(text))
  return { hostname: name.toLowerCase(), port: number } // after the check: lower case makes k of a Kelvin sign
}

/** For what people try. */
function advice(text: string): { readonly next: string } | undefined {
  const url = /^[a-z][a-z0-9+-]*:\/\/([^/?#@\s]+)\/?$/i.exec(text)?.[1]
  if (url !== undefined) return { next: `Write it without the scheme: ${url}` }
  if (/^[\d.]+(:\d+)?$|^\[/.test(text))
    return { next: 'An application has a name, not an address. Where its edge listens is said by --edge URL.' }
  return undefined
}

/** Whether a name means this machine whatever DNS says (RFC 6761, section 6.3). A dot behind it, the root of DNS, changes nothing. */
export function isLoopbackName(name: string): boolean {
  return /^(?:.*\.)?localhost\.?$/i.test(name)
}
