import { createHmac } from 'node:crypto'
import { lstat } from 'node:fs/promises'
import { PosternError } from '@postern/interface'
import { readSshCertificate, type SshCertificateFacts } from '@postern/pki/ssh/certificate'
import { createSshKey, publicKeyOf } from '@postern/pki/ssh/key'
import { readPrivate, writePrivate } from '@postern/program'
import type { SshFiles } from './ssh-files.ts'

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
