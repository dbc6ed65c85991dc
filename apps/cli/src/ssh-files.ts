import { createHash } from 'node:crypto'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { readHostname } from '@postern/client/hostname'
import { userFolder } from '@postern/program'

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
  // A hostname may end like a certificate of another one: .pub is a domain.
  const isPlain = plain.length <= LONGEST_NAME && !plain.endsWith(CERTIFICATE)
  const name = isPlain ? plain : createHash('sha256').update(plain).digest('hex')
  const key = join(folder, name)
  return { folder, name, key, certificate: key + CERTIFICATE }
}

/** Throws every certificate away, whoever it was given to: the next ssh gets another. The keys stay. */
export async function forgetSshCertificates(env: NodeJS.ProcessEnv): Promise<void> {
  const folder = join(userFolder(env), FOLDER)
  const names = await readdir(folder).catch(() => [])
  for (const name of names) if (name.endsWith(CERTIFICATE)) await rm(join(folder, name), { force: true })
}
