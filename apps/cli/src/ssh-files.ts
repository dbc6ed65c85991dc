import { createHash, createHmac } from 'node:crypto'
import { lstat, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { readHostname } from '@postern/client/hostname'
import { PosternError } from '@postern/interface'
import { readSshCertificate, type SshCertificateFacts } from '@postern/pki/ssh/certificate'
import { createSshKey, publicKeyOf } from '@postern/pki/ssh/key'
import { readPrivate, userFolder, writePrivate } from '@postern/program'

const FOLDER = 'ssh'
const CERTIFICATE = '-cert.pub'
/** Characters. File systems take 255, and what is written has a suffix for a while. */
const LONGEST_NAME = 150

/** Where an application's key and certificate are, as ssh wants them beside each other. */
export interface SshFiles {
  readonly folder: string
  /** Of the key file. */
  readonly name: string
  readonly key: string
  readonly certificate: string
}

/** @throws PosternError HOSTNAME_INVALID: nothing else becomes the name of a file */
export function sshFiles(application: string, env: NodeJS.ProcessEnv): SshFiles {
  const folder = join(userFolder(env), FOLDER)
  const { hostname, port } = readHostname(application)
  const plain = port === undefined ? hostname : `${hostname}_${port}`
  const name = plain.length <= LONGEST_NAME ? plain : createHash('sha256').update(plain).digest('hex')
  const key = join(folder, name)
  return { folder, name, key, certificate: key + CERTIFICATE }
}

/** A user's key, and what is known of it. */
export interface OwnKey {
  readonly text: string
  readonly publicKey: string
}

/** @throws PosternError FILE_UNSAFE, FILE_UNREADABLE */
export async function readOwnKey({ key }: SshFiles): Promise<OwnKey | undefined> {
  const text = await readPrivate(key)
  if (text === undefined) return undefined
  try {
    return { text, publicKey: publicKeyOf(text) }
  } catch (cause) {
    const next = 'Move it away; another one is made then.'
    throw new PosternError('FILE_UNREADABLE', `${key} is not a private key that OpenSSH wrote`, { cause, next })
  }
}

export async function makeOwnKey(files: SshFiles): Promise<OwnKey> {
  const text = await createSshKey(`postern ${files.name}`)
  await writePrivate(files.key, text)
  return { text, publicKey: publicKeyOf(text) }
}

/**
 * The certificate that is kept, where it is of this key, was asked for in the same way, and more than a third of its time is left.
 *
 * @param way all that says who asks: by another way somebody else may
 * @param now milliseconds since the epoch
 */
export async function freshCertificate(
  { certificate }: SshFiles,
  key: OwnKey,
  way: string,
  now: number,
): Promise<SshCertificateFacts | undefined> {
  const line = await readPrivate(certificate)
  const written = line === undefined ? undefined : await lstat(certificate).catch(() => undefined)
  if (line === undefined || written === undefined || !line.endsWith(` ${markOf(way, key)}\n`)) return undefined
  const facts = factsIn(line)
  if (facts?.publicKey !== key.publicKey) return undefined
  const { validAfter, validBefore } = facts
  const [seconds, age] = [now / 1000, (now - written.mtimeMs) / 1000]
  const third = (validBefore - validAfter) / 3
  // Both by the clock that certifies and by how long it is here: this machine’s clock may be another.
  const isFresh = seconds >= validAfter && validBefore - seconds > third && age > -1 && age < 2 * third
  return isFresh ? facts : undefined
}

/** @throws PosternError EDGE_PROTOCOL: it is not for this key; FILE_* */
export async function keepCertificate(
  files: SshFiles,
  key: OwnKey,
  way: string,
  line: string,
): Promise<SshCertificateFacts> {
  const facts = factsIn(line)
  if (facts?.publicKey !== key.publicKey)
    throw new PosternError('EDGE_PROTOCOL', 'the edge answered with what is no certificate for this key')
  await writePrivate(files.certificate, `${line.split(' ', 2).join(' ')} ${markOf(way, key)}\n`)
  return facts
}

/** Throws every certificate away, whoever it was given to: the next ssh gets another. The keys stay. */
export async function forgetSshCertificates(env: NodeJS.ProcessEnv): Promise<void> {
  const folder = join(userFolder(env), FOLDER)
  const names = await readdir(folder).catch(() => [])
  for (const name of names) if (name.endsWith(CERTIFICATE)) await rm(join(folder, name), { force: true })
}

/** Keyed: what is in the way may be a secret. */
function markOf(way: string, { text }: OwnKey): string {
  return `postern:${createHmac('sha256', text).update(way).digest('hex').slice(0, 32)}`
}

function factsIn(line: string): SshCertificateFacts | undefined {
  try {
    return readSshCertificate(line)
  } catch {
    return undefined
  }
}
