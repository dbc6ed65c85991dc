import { randomUUID } from 'node:crypto'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { PosternError } from '@postern/interface'
import type { Place } from './listening.ts'

/** A file for RDP clients. */
export interface RdpFile extends Disposable {
  readonly path: string
}

/** RFC 952 and 1123: nothing else gets into the name of a file that other programs are handed. */
const HOSTNAME = /^(?=.{1,253}$)(?!-)[a-z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9-]{1,63}(?<!-))*$/

/**
 * What Windows’ own client and those like it read: where to connect, and to whom this machine’s things are given, which is nobody. No
 * user name and no password: a client that is opened with it asks.
 */
export function rdpText({ host, port }: Place): string {
  const lines = [
    text('full address', `${host}:${port}`),
    // Of a computer that it cannot identify it asks whether to go on: the name in the server’s certificate is not this address.
    number('authentication level', 2),
    number('enablecredsspsupport', 1),
    number('prompt for credentials', 1),
    number('autoreconnection enabled', 1),
    number('dynamic resolution', 1),
    // A gateway of the machine’s settings would be asked for this machine’s own address.
    number('gatewayusagemethod', 0),
    text('drivestoredirect', ''),
    number('redirectprinters', 0),
    number('redirectsmartcards', 0),
  ]
  return lines.map(line => `${line}\r\n`).join('')
}

/** One setting is one line. @throws PosternError OPTION_INVALID: it would be two, or none of ASCII */
export function text(name: string, value: string): string {
  if (!/^[\x20-\x7e]{0,256}$/.test(value))
    throw new PosternError('OPTION_INVALID', `${JSON.stringify(value.slice(0, 100))} cannot stand in an .rdp file`)
  return `${name}:s:${value}`
}

function number(name: string, value: number): string {
  return `${name}:i:${value}`
}

/**
 * Writes it, for this user alone, whole or not at all; and at once, so that nobody who connects meanwhile is missed.
 *
 * @param wanted where; what is there is replaced. Absent: in a folder of its own, which is removed when it is disposed
 * @throws PosternError HOSTNAME_INVALID; OPTION_INVALID for a name that does not end in `.rdp`; FILE_UNREADABLE
 */
export function writeRdpFile(hostname: string, place: Place, wanted?: string): RdpFile {
  if (!HOSTNAME.test(hostname))
    throw new PosternError('HOSTNAME_INVALID', `${JSON.stringify(hostname.slice(0, 100))} is not a hostname`)
  const content = rdpText(place)
  if (wanted === undefined) return writeTemporary(hostname, content)
  if (!/[^/\\]\.rdp$/i.test(wanted)) {
    const next = 'Give it a name such as box.rdp: by that clients know it, and nothing else is overwritten.'
    throw new PosternError('OPTION_INVALID', '--rdp-file names no .rdp file', { next })
  }
  replace(wanted, content)
  return { path: wanted, [Symbol.dispose]: () => {} }
}

function writeTemporary(hostname: string, content: string): RdpFile {
  using made = new DisposableStack()
  const folder = orUnwritable(tmpdir(), () => mkdtempSync(join(tmpdir(), 'postern-rdp-')))
  made.defer(() => rmSync(folder, { recursive: true, force: true }))
  const path = join(folder, `${hostname}.rdp`)
  replace(path, content)
  const owned = made.move()
  return { path, [Symbol.dispose]: () => owned.dispose() }
}

/** A link that stands there is replaced, not followed. */
function replace(path: string, content: string): void {
  const next = join(dirname(path), `.${basename(path)}.${randomUUID()}`)
  orUnwritable(path, () => {
    try {
      writeFileSync(next, content, { flag: 'wx', mode: 0o600 })
      renameSync(next, path)
    } finally {
      rmSync(next, { force: true })
    }
  })
}

function orUnwritable<T>(path: string, write: () => T): T {
  try {
    return write()
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    throw new PosternError('FILE_UNREADABLE', `${path} cannot be written (${code ?? message})`, { cause })
  }
}
