import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { RunningEdge } from '@postern/edge'
import { APP_HOST, ECHO_HOST, SSH_HOST, TEAM_DOMAIN } from './names.ts'
import type { SshKeys } from './ssh-keys.ts'

export interface TokenFile {
  readonly id: string
  readonly secretFile: string
}

/** What names a machine, in every form that something wants it in. */
export interface DevToken extends TokenFile {
  readonly secret: string
  /** For requests of one's own. */
  readonly headers: { readonly 'postern-client-id': string; readonly 'postern-client-secret': string }
}

/** What a person would have in `~/.config/postern/config.yaml`: a machine's credential for two names, a browser for the third. */
export function writeClientConfig(folder: string, edge: RunningEdge, ca: string, token: TokenFile): void {
  const { id, secretFile } = token
  const credential = { id, secretFile }
  const applications = { [SSH_HOST]: credential, [ECHO_HOST]: credential, [APP_HOST]: { trustTeam: TEAM_DOMAIN } }
  const config = { edge: `https://localhost:${edge.port}`, ca, applications }
  writeFileSync(join(folder, 'config.yaml'), `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 })
}

/** `postern`, for a shell whose own Node may be older than this one. What it keeps is in the folder, too. */
export function writeCommand(folder: string, edge: RunningEdge): string {
  const file = join(folder, 'postern')
  const script = fileURLToPath(import.meta.resolve('postern/package.json')).replace(/package\.json$/, 'bin/postern.js')
  const variables = {
    POSTERN_CONFIG: join(folder, 'config.yaml'),
    POSTERN_HOME: join(folder, 'home'),
    POSTERN_KEYRING: 'off',
    POSTERN_ADMIN_SOCKET: edge.adminSocket ?? '',
  }
  const env = Object.entries(variables).map(([name, value]) => `${name}='${value}'`)
  writeFileSync(file, `#!/bin/sh\n${env.join(' ')} exec '${process.execPath}' '${script}' "$@"\n`)
  chmodSync(file, 0o700)
  return file
}

/** The same server by two names: by the service token of the one, by a person’s sign-in at the other. */
export function writeSshConfig(folder: string, keys: SshKeys, user: string, postern: string): string {
  const file = join(folder, 'ssh_config')
  const known = join(folder, 'ssh', 'known_hosts')
  const hosts = [SSH_HOST, APP_HOST]
  mkdirSync(join(folder, 'ssh'), { recursive: true })
  writeFileSync(known, `${hosts.join(',')} ${keys.hostPublicKey}\n`)
  const lines = [
    `Host ${hosts.join(' ')}`,
    `  User ${user}`,
    `  IdentityFile ${keys.userKeyFile}`,
    '  IdentitiesOnly yes',
    `  UserKnownHostsFile ${known}`,
    '  StrictHostKeyChecking yes',
    `  ProxyCommand ${postern} access ssh --hostname %h`,
    '',
  ]
  writeFileSync(file, lines.join('\n'))
  return file
}
