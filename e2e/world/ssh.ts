import { mkdirSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { findSshd, makeSshKeys, type SampleServer, type SshKeys, startSshd } from '@postern/dev'
import { scriptOf } from './program.ts'
import type { World } from './world.ts'

export interface SshOrigin extends AsyncDisposable {
  readonly port: number
  readonly keys: SshKeys
}

/** A real sshd of this machine. @param more further lines of its configuration */
export async function startSshOrigin(folder: string, more: readonly string[] = []): Promise<SshOrigin> {
  const program = findSshd()
  if (!program) throw new Error('no sshd')
  const keys = makeSshKeys(join(folder, 'ssh'))
  const server: SampleServer = await startSshd(program, folder, keys, more)
  return { port: server.port, keys, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() }
}

/** What of a world its client is told. */
type Reached = Pick<World, 'folder' | 'hostname' | 'address' | 'credential' | 'trust'>

/** An ssh_config whose one host is reached through Postern; the host key is checked strictly, end to end. */
export function writeSshConfig(world: Reached, origin: SshOrigin, extra: readonly string[] = []): string {
  const folder = join(world.folder, 'client')
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  writeFileSync(join(folder, 'known_hosts'), `${world.hostname} ${origin.keys.hostPublicKey}\n`)
  const proxy = [
    process.execPath,
    scriptOf('postern'),
    'access',
    'ssh',
    '--hostname',
    world.address,
    ...world.credential,
    ...world.trust,
  ]
  const file = join(folder, 'config')
  writeFileSync(
    file,
    [
      `Host ${world.hostname}`,
      `  User ${userInfo().username}`,
      `  IdentityFile ${origin.keys.userKeyFile}`,
      '  IdentitiesOnly yes',
      `  UserKnownHostsFile ${join(folder, 'known_hosts')}`,
      '  GlobalKnownHostsFile /dev/null',
      '  StrictHostKeyChecking yes',
      '  BatchMode yes',
      ...extra.map(line => `  ${line}`),
      `  ProxyCommand ${proxy.join(' ')}`,
      '',
    ].join('\n'),
  )
  return file
}
