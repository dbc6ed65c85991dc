import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import ssh2 from 'ssh2'

/** The keys of a throw-away SSH server and its one user, in a folder of their own. */
export interface SshKeys {
  /** Files, as sshd and ssh want them. */
  readonly hostKeyFile: string
  readonly userKeyFile: string
  readonly authorizedKeysFile: string
  /** `ssh-ed25519 AAAA…`, for a known_hosts file. */
  readonly hostPublicKey: string
  readonly userPublicKey: string
  readonly hostPrivateKey: string
}

/** Makes both pairs. The folder is made 0700, private keys 0600. */
export function makeSshKeys(folder: string): SshKeys {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const host = ssh2.utils.generateKeyPairSync('ed25519', { comment: 'postern sample host' })
  const user = ssh2.utils.generateKeyPairSync('ed25519', { comment: 'postern sample user' })
  const keys = {
    hostKeyFile: join(folder, 'host_key'),
    userKeyFile: join(folder, 'user_key'),
    authorizedKeysFile: join(folder, 'authorized_keys'),
    hostPublicKey: host.public,
    userPublicKey: user.public,
    hostPrivateKey: host.private,
  }
  writeFileSync(keys.hostKeyFile, host.private, { mode: 0o600 })
  writeFileSync(keys.userKeyFile, user.private, { mode: 0o600 })
  writeFileSync(keys.authorizedKeysFile, `${user.public}\n`, { mode: 0o600 })
  return keys
}
