import { type ChildProcess, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { accessSync, constants, mkdirSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { userInfo } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { PosternError } from '@postern/interface'
import type { SampleServer } from './samples.ts'
import type { SshKeys } from './ssh-keys.ts'

/** Where OpenSSH keeps its empty folder when it runs as root; a machine that never started sshd has none yet. */
const PRIVILEGE_SEPARATION = '/run/sshd'
const START_DEADLINE = 10_000

/** The sshd of this machine, or undefined: it lives in sbin, which a plain user's PATH leaves out. */
export function findSshd(): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin']
  return folders.map(folder => join(folder, 'sshd')).find(runnable)
}

/** Starts OpenSSH's server on a free loopback port: this user only, this key only, no PAM, no password. @param more further lines of its configuration */
export async function startSshd(
  program: string,
  folder: string,
  keys: SshKeys,
  more: readonly string[] = [],
): Promise<SampleServer & { readonly pid: number }> {
  const port = await freePort()
  // It stays, as on any machine whose own sshd ran once: another one of ours may have begun to need it meanwhile.
  if (process.getuid?.() === 0) mkdirSync(PRIVILEGE_SEPARATION, { mode: 0o755, recursive: true })
  const config = join(folder, 'sshd_config')
  writeFileSync(config, settings(port, keys, more))
  const child = spawn(program, ['-D', '-e', '-f', config], { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.on('data', chunk => {
    said = (said + chunk).slice(-2000)
  })
  const gone = new Promise<void>(resolve => child.once('close', () => resolve()))
  try {
    await listening(port, child, () => said)
  } catch (error) {
    child.kill('SIGKILL')
    throw error
  }
  return {
    port,
    pid: child.pid ?? -1,
    what: 'sshd (OpenSSH)',
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM')
      await gone
    },
  }
}

function settings(port: number, keys: SshKeys, more: readonly string[]): string {
  return [
    ...more,
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    `HostKey "${keys.hostKeyFile}"`,
    `AuthorizedKeysFile "${keys.authorizedKeysFile}"`,
    `AllowUsers ${userInfo().username}`,
    'PermitRootLogin prohibit-password',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'UsePAM no',
    'StrictModes no', // the keys lie below a temporary folder, whose parent everybody may write
    'PidFile none',
    'X11Forwarding yes',
    'PrintMotd no',
    'PrintLastLog no',
    'MaxStartups 200',
    'Subsystem sftp internal-sftp',
    'LogLevel ERROR',
    '',
  ].join('\n')
}

async function listening(port: number, child: ChildProcess, said: () => string): Promise<void> {
  const until = Date.now() + START_DEADLINE
  while (Date.now() < until && child.exitCode === null) {
    const up = await new Promise<boolean>(resolve => {
      const probe = connect(port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false))
      probe.once('connect', () => probe.destroy())
    })
    if (up) return
    await sleep(25)
  }
  throw new PosternError('INTERNAL', `sshd did not start: ${said().trim() || `exit code ${child.exitCode}`}`)
}

/**
 * A port of 127.0.0.1 that nobody listens at. It is below those that systems give to outgoing connections (Linux: from 32768, others: from
 * 49152), so that none of them takes it before it is used.
 */
export async function freePort(): Promise<number> {
  for (let tried = 0; tried < 16; tried += 1) {
    const port = await listenedAt(randomInt(16_384, 32_768)).catch(() => undefined)
    if (port !== undefined) return port
  }
  return listenedAt(0)
}

/** Listens for a moment. @returns where */
function listenedAt(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject)
    server.listen(port, '127.0.0.1', () => {
      const address = server.address()
      server.close(() =>
        address && typeof address === 'object' ? resolve(address.port) : reject(new Error('no port')),
      )
    })
  })
}

function runnable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}
