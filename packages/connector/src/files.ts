import { constants } from 'node:fs'
import { access, lstat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { checkIdentity, isConnectorId, keyFingerprint } from '@postern/end-to-end'
import { PosternError } from '@postern/interface'
import type { KeyAndCertificate } from '@postern/pki'
import { exclusively, readPrivate, userFolder, writePrivate } from '@postern/program'

type Env = Readonly<Record<string, string | undefined>>

/** Where a tunnel's identity is kept that is made on this machine: in this user's folder, named by its fingerprint. @throws PosternError BAD_USAGE */
export function identityFile(env: Env, tunnel: string, fingerprint: string): string {
  if (!/^[a-z0-9][a-z0-9-]{0,62}$/.test(tunnel))
    throw new PosternError('BAD_USAGE', 'a tunnel’s name is 1–63 lower-case letters, digits and hyphens')
  const digits = fingerprint.slice(fingerprint.indexOf(':') + 1)
  return join(userFolder(env), 'tunnels', `${tunnel}-${digits.slice(0, 16)}.pem`)
}

/**
 * Keeps a tunnel's identity, its certificate and its key, in a new file of mode 0600.
 *
 * @param path default: {@link identityFile}
 * @returns its path
 * @throws PosternError ALREADY_EXISTS, FILE_UNSAFE, FILE_UNREADABLE
 */
export async function keepIdentity(
  env: Env,
  tunnel: string,
  { cert, key }: KeyAndCertificate,
  path: string = identityFile(env, tunnel, keyFingerprint(key)),
): Promise<string> {
  await mustBeFree(path)
  await writePrivate(path, cert + key)
  return path
}

/**
 * The identity of a tunnel, where this machine has it.
 *
 * @param fingerprint of its key, as the edge has it registered
 * @param path where it is said to be; default {@link identityFile}
 * @returns undefined when there is no such file
 * @throws PosternError FILE_UNSAFE, FILE_UNREADABLE; CONFIG_INVALID: it holds something else, or another identity
 */
export async function readIdentity(
  env: Env,
  tunnel: string,
  fingerprint: string,
  path: string = identityFile(env, tunnel, fingerprint),
): Promise<KeyAndCertificate | undefined> {
  const text = await readPrivate(path)
  if (text === undefined) return undefined
  const [cert] = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?/.exec(text) ?? []
  const [key] = /-----BEGIN PRIVATE KEY-----[^-]+-----END PRIVATE KEY-----\n?/.exec(text) ?? []
  if (cert === undefined || key === undefined)
    throw new PosternError('CONFIG_INVALID', `${path} does not hold a tunnel’s certificate and key`)
  const found = keyFingerprint(checkIdentity(cert).publicKey)
  if (found !== fingerprint || keyFingerprint(key) !== fingerprint)
    throw new PosternError('CONFIG_INVALID', `${path} holds another identity than that of the tunnel ${tunnel}`, {
      next: `The edge knows ${fingerprint}, and the file holds ${found}: name the right file with --identity-file.`,
    })
  return { cert, key }
}

/** What a daemon proves itself with: all that it needs, in one file. */
export interface Credentials {
  readonly version: 1
  /** `https://edge.example.com`. */
  readonly edge: string
  /** PEM: what to trust instead of the system's CAs. */
  readonly ca?: string
  readonly tunnel: string
  /** The connector's id. */
  readonly connector: string
  readonly token: string
  readonly certificate: string
  readonly key: string
  /** PEM of what signed the certificate, where that was not the identity but the authority of a setup token. */
  readonly authority?: string
  /** PEM of the tunnel's identity, and the edge's keys for grants: what end-to-end sessions need besides. */
  readonly identity?: string
  readonly grantKeys?: GrantKeySetFile
}

/** A JWK set, with the sequence that the edge gave it; none: as it was at the login. */
export interface GrantKeySetFile {
  readonly keys: readonly object[]
  readonly sequence?: number
}

/**
 * What makes one daemon's {@link Credentials}, once: it goes to its machine in a file. Which connector that is to be, the authority's certificate
 * says.
 */
export interface SetupFile {
  readonly version: 1
  readonly edge: string
  readonly ca?: string
  readonly tunnel: string
  /** Good once, at the edge. */
  readonly token: string
  /** PEM: what signs the daemon's certificate, and its key. */
  readonly authority: string
  readonly authorityKey: string
  /** PEM of the tunnel's identity. */
  readonly identity: string
}

const CREDENTIALS = ['edge', 'tunnel', 'connector', 'token', 'certificate', 'key'] as const
const SETUP = ['edge', 'tunnel', 'token', 'authority', 'authorityKey', 'identity'] as const

/** Where `posternd login` leaves them and `posternd` looks for them, unless told otherwise. */
export function credentialsFile(env: Env): string {
  return join(userFolder(env), 'connector.json')
}

/** @throws PosternError CONFIG_INVALID: it is not what `posternd login` left */
export function readCredentials(text: string, path: string): Credentials {
  return parse<Credentials>(text, CREDENTIALS, path, 'what posternd login leaves')
}

/** @throws PosternError CONFIG_INVALID: it is not what `postern tunnel setup-token` wrote */
export function readSetupFile(text: string, path: string): SetupFile {
  return parse<SetupFile>(text, SETUP, path, 'what postern tunnel setup-token writes')
}

/** As a file of mode 0600, whole or not at all. */
export async function writeJson(path: string, value: Credentials | SetupFile): Promise<void> {
  await writePrivate(path, `${JSON.stringify(value, null, 2)}\n`)
}

/** Milliseconds that somebody else may take for it: a moment does. */
const LOCK_TIME = 10_000

/**
 * Reads and writes credentials while nobody else does: a daemon that keeps later keys, a login.
 *
 * @throws PosternError TIMED_OUT: somebody else does not finish; FILE_UNREADABLE; what `work` throws
 */
export async function changeCredentials<T>(path: string, work: () => Promise<T>): Promise<T> {
  const late = new AbortController()
  const why = new PosternError('TIMED_OUT', `somebody else has been changing ${path} for ${LOCK_TIME / 1000} s`)
  const timer = setTimeout(() => late.abort(why), LOCK_TIME)
  return exclusively(`${path}.lock`, work, late).finally(() => clearTimeout(timer))
}

/**
 * Puts later keys of grants into the credentials of the same connector, whole or not at all.
 *
 * @returns false: nothing was done, since what is there now is of another login, or has later ones
 * @throws PosternError CONFIG_INVALID, FILE_UNSAFE, FILE_UNREADABLE; as {@link changeCredentials}
 */
export async function keepGrantKeys(path: string, connector: string, set: GrantKeySetFile): Promise<boolean> {
  const before = async (): Promise<Credentials | undefined> => {
    const text = await readPrivate(path)
    const now = text === undefined ? undefined : readCredentials(text, path)
    const isLater = now?.connector === connector && (now.grantKeys?.sequence ?? 0) < (set.sequence ?? 0)
    return isLater ? now : undefined
  }
  // Each connection is told them: all but the first time there is nothing to do.
  if ((await before()) === undefined) return false
  return changeCredentials(path, async () => {
    const now = await before()
    if (now !== undefined) await writeJson(path, { ...now, grantKeys: set })
    return now !== undefined
  })
}

/** Where keys of grants are kept of credentials that cannot be written: a service's, in the folder that systemd made for it. */
export interface Apart {
  readonly version: 1
  readonly connector: string
  readonly grantKeys: GrantKeySetFile
}

/** @returns undefined where the program has no such folder (`STATE_DIRECTORY`) */
export function apartFile({ STATE_DIRECTORY: folder = '' }: Env, connector: string): string | undefined {
  const [first = ''] = folder.split(':')
  return first === '' || !isConnectorId(connector) ? undefined : join(first, `grant-keys-${connector}.json`)
}

/**
 * Those of this connector, where somebody kept them apart.
 *
 * @throws PosternError CONFIG_INVALID, FILE_UNSAFE, FILE_UNREADABLE
 */
export async function readGrantKeysApart(path: string, connector: string): Promise<GrantKeySetFile | undefined> {
  const text = await readPrivate(path)
  if (text === undefined) return undefined
  try {
    const { version, connector: whose, grantKeys } = JSON.parse(text) as Partial<Apart>
    if (version === 1 && whose === connector && Array.isArray(grantKeys?.keys)) return grantKeys
  } catch {
    // told below
  }
  throw new PosternError('CONFIG_INVALID', `${path} does not hold keys of grants`, { next: 'Remove that file.' })
}

/** As a file of mode 0600, whole or not at all. @throws PosternError FILE_UNSAFE, FILE_UNREADABLE */
export async function keepGrantKeysApart(
  path: string,
  connector: string,
  grantKeys: GrantKeySetFile,
): Promise<boolean> {
  const kept: Apart = { version: 1, connector, grantKeys }
  await writePrivate(path, `${JSON.stringify(kept)}\n`)
  return true
}

/**
 * Before something is made that is shown once: whether it could be kept in this file.
 *
 * @throws PosternError FILE_UNREADABLE
 */
export async function mustBeWritable(path: string): Promise<void> {
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    const failed = await access(folder, constants.W_OK).then(
      () => undefined,
      (cause: NodeJS.ErrnoException) => cause,
    )
    if (failed === undefined) return
    if (failed.code === 'ENOENT' && dirname(folder) !== folder) continue
    throw new PosternError('FILE_UNREADABLE', `${path} cannot be written (${failed.code})`, { cause: failed })
  }
}

/** @throws PosternError ALREADY_EXISTS: whatever is there, a link too */
export async function mustBeFree(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined)
  if (found)
    throw new PosternError('ALREADY_EXISTS', `${path} is there already`, {
      next: 'Name another file, or move that one away.',
    })
}

function parse<T extends { readonly version: 1 }>(
  text: string,
  texts: readonly (keyof T & string)[],
  path: string,
  what: string,
): T {
  let value: Partial<Record<string, unknown>> | undefined
  try {
    value = JSON.parse(text) as typeof value
  } catch {
    // told below, without a word of it: it may be a secret
  }
  const isWhole = typeof value === 'object' && value !== null && texts.every(name => typeof value?.[name] === 'string')
  const isEdge = isWhole && URL.parse(String(value?.edge))?.protocol === 'https:'
  if (!isEdge || value?.version !== 1 || !['undefined', 'string'].includes(typeof value.ca))
    throw new PosternError('CONFIG_INVALID', `${path} is not ${what}`)
  return value as unknown as T
}
