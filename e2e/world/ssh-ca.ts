import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { findSshd, freePort, makeSshKeys } from '@postern/dev'
import { expect } from 'vitest'
import { Running } from './program.ts'

/** A real sshd that knows nobody's key, and trusts an authority. */
export interface TrustingSshd extends AsyncDisposable {
  readonly port: number
  /** For known_hosts. */
  readonly hostPublicKey: string
  /** What it logs. */
  readonly log: () => string
  /** Lines of `TrustedUserCAKeys`; it reads them at each login. */
  trust(...lines: readonly string[]): void
}

/** Who logs in there: whoever runs the tests. */
export const ACCOUNT: string = userInfo().username

/** @param principals names that may log in as {@link ACCOUNT}; without them, the account's own name alone */
export async function startTrustingSshd(folder: string, principals?: readonly string[]): Promise<TrustingSshd> {
  const program = findSshd()
  if (!program) throw new Error('no sshd')
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  if (process.getuid?.() === 0 && !existsSync('/run/sshd')) mkdirSync('/run/sshd', { mode: 0o755 })
  const keys = makeSshKeys(join(folder, 'keys'))
  const [port, authorities, names] = [await freePort(), join(folder, 'user_ca.pub'), join(folder, 'principals')]
  writeFileSync(authorities, '')
  writeFileSync(names, `${(principals ?? []).join('\n')}\n`)
  const config = join(folder, 'sshd_config')
  const settings = [
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    `HostKey "${keys.hostKeyFile}"`,
    `TrustedUserCAKeys "${authorities}"`,
    ...(principals === undefined ? [] : [`AuthorizedPrincipalsFile "${names}"`]),
    'AuthorizedKeysFile none',
    'AuthenticationMethods publickey',
    'PermitRootLogin prohibit-password',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'UsePAM no',
    'StrictModes no',
    'PidFile none',
    'PrintMotd no',
    'PrintLastLog no',
    'MaxStartups 200',
    'Subsystem sftp internal-sftp',
    'LogLevel VERBOSE',
  ]
  writeFileSync(config, `${settings.join('\n')}\n`)
  const sshd = new Running(spawn(program, ['-D', '-e', '-f', config], { stdio: ['ignore', 'ignore', 'pipe'] }), 'sshd')
  await sshd.says(/Server listening/)
  return {
    port,
    hostPublicKey: keys.hostPublicKey,
    log: () => sshd.stderr,
    trust: (...lines) => writeFileSync(authorities, lines.map(line => `${line.trim()}\n`).join('')),
    [Symbol.asyncDispose]: async () => void (await sshd.stop()),
  }
}

/** Waits until sshd has logged something since then: it does so after ssh has ended. */
export async function logged(sshd: TrustingSshd, since: number, what: RegExp): Promise<void> {
  await expect.poll(() => sshd.log().slice(since), { timeout: 10_000 }).toMatch(what)
}
