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
  const host = makePair('postern sample host')
  const user = makePair('postern sample user')
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

/** ssh2 leaves out leading zeroes of an ed25519 key about once in 256 times, and OpenSSH cannot read that: it is made again. */
function makePair(comment: string): { readonly public: string; readonly private: string } {
  for (;;) {
    const pair = ssh2.utils.generateKeyPairSync('ed25519', { comment })
    if (isWhole(pair)) return pair
  }
}

/** The lengths of RFC 8709: 32 bytes of public key, and in the private file 64 bytes that end with them. */
export function isWhole(pair: { readonly public: string; readonly private: string }): boolean {
  const blob = Buffer.from(pair.public.split(' ')[1] ?? '', 'base64')
  const file = Buffer.from(pair.private.replace(/-----[^-]+-----/g, ''), 'base64')
  const own = blob.subarray(-32)
  const at = file.indexOf(Buffer.from([0, 0, 0, 64]))
  return blob.length === 51 && at > 0 && file.subarray(at + 36, at + 68).equals(own)
}
