import { isIP } from 'node:net'
import { resolve } from 'node:path'
import { isLoopbackName, readHostname } from '@postern/client/hostname'
import { PosternError } from '@postern/interface'

/** Where local programs connect: a TCP port, 0 for any free one, or the path of a Unix socket. */
export type LocalAddress = { readonly host: string; readonly port: number } | { readonly path: string }

/** One `-L`: an application, with the edge's port where it is not 443, and where it is reached from here. */
export interface Forward {
  readonly hostname: string
  readonly local: LocalAddress
}

/**
 * Reads `localhost:5432`, `127.0.0.1:0`, `:5432`, `5432`, `[::1]:5432`, `*:5432` (every interface), or the path of a Unix socket:
 * `/run/user/1000/db.sock`, `./db.sock`, `unix:db.sock`. A port alone is on loopback.
 *
 * @param label what the text was given as, for messages
 * @throws PosternError OPTION_INVALID
 */
export function readLocalAddress(text: string, label: string, cwd: string): LocalAddress {
  const path = /^unix:(?:\/\/(?=\/))?(.+)$/.exec(text)?.[1] ?? (/^\.{0,2}\//.test(text) ? text : undefined)
  if (path !== undefined && !path.includes('\0')) return { path: resolve(cwd, path) }
  const match = /^(?:tcp:\/\/)?(?:(\[[0-9a-f:.]+\]|[\w.*-]*):)?(\d{1,5})\/?$/i.exec(text)
  const port = Number(match?.[2])
  const name = (match?.[1] ?? '').replace(/^\[|\]$/g, '')
  if (!match || port > 65535 || /^\d+$/.test(name)) {
    throw new PosternError(
      'OPTION_INVALID',
      `${label}: ${JSON.stringify(text.slice(0, 200))} is not a local address such as localhost:5432`,
    )
  }
  return { host: name === '' || isLoopbackName(name) ? '127.0.0.1' : name === '*' ? '0.0.0.0' : name, port }
}

/**
 * Reads `[bind:]port:hostname[:edgeport]` or `/path.sock:hostname[:edgeport]`. What stands first is the port if it is digits
 * alone, so `8022:ssh.example.com:8443` has no bind address but an edge's port.
 *
 * @throws PosternError OPTION_INVALID, HOSTNAME_INVALID
 */
export function readForward(text: string, cwd: string): Forward {
  const match = /^((?:unix:|\.{0,2}\/).+?|(?:.*:)?\d+):([^:/]+(?::\d+)?)$/.exec(text)
  const [, local, hostname] = match ?? []
  if (local === undefined || hostname === undefined) {
    throw new PosternError('OPTION_INVALID', `-L: ${JSON.stringify(text.slice(0, 200))} is not a forward`, {
      next: 'Write [BIND:]PORT:HOSTNAME[:EDGEPORT], for example -L 5432:db.example.com, or /PATH.sock:HOSTNAME.',
    })
  }
  readHostname(hostname)
  return { hostname, local: readLocalAddress(local, '-L', cwd) }
}

/** @throws PosternError OPTION_CONFLICT where two would listen at one address */
export function refuseTwice(forwards: readonly Forward[]): void {
  for (const [at, { local, hostname }] of forwards.entries()) {
    const other = forwards.slice(0, at).find(one => areSame(one.local, local))
    if (other) {
      throw new PosternError(
        'OPTION_CONFLICT',
        `${other.hostname} and ${hostname} cannot both be at ${showAddress(local)}`,
        { next: 'Give one of them another port.' },
      )
    }
  }
}

/** Whether two cannot both be listened at. */
export function areSame(a: LocalAddress, b: LocalAddress): boolean {
  if ('path' in a || 'path' in b) return 'path' in a && 'path' in b && a.path === b.path
  const everywhere = [a.host, b.host].some(host => host === '0.0.0.0' || host === '::')
  return a.port === b.port && a.port !== 0 && (a.host === b.host || everywhere)
}

/** `127.0.0.1:5432`, `[::1]:5432`, `/run/db.sock` */
export function showAddress(address: LocalAddress): string {
  if ('path' in address) return address.path
  return `${isIP(address.host) === 6 ? `[${address.host}]` : address.host}:${address.port}`
}

/** What stands in the way, for a person who wanted to listen there. */
export function listenFailed(where: string, cause: NodeJS.ErrnoException): PosternError {
  const reasons: Record<string, readonly [why: string, next?: string]> = {
    EADDRINUSE: ['another program listens there'],
    EADDRNOTAVAIL: ['this machine has no such address', 'Use localhost, or an address of this machine.'],
    EACCES: ['this user may not listen there', 'Use a port above 1023, or a folder of your own.'],
    ENOTFOUND: ['that name does not resolve', 'Use localhost, or an address of this machine.'],
    ENOENT: ['its folder does not exist', 'Make the folder, or choose another path.'],
  }
  const [why, next] = reasons[cause.code ?? ''] ?? [cause.code ?? cause.message]
  return new PosternError('LISTEN_FAILED', `cannot listen at ${where}: ${why}`, {
    cause,
    speaker: 'client',
    ...(next !== undefined && { next }),
  })
}
