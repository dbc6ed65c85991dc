import { execFileSync, spawn } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '@postern/dev'
import { Running } from './program.ts'

const VERSIONS = '/usr/lib/postgresql'

export interface Postgres extends AsyncDisposable {
  readonly port: number
}

/** A PostgreSQL of its own in a folder, on loopback, with one user `me` who needs no password. */
export async function startPostgres(folder: string): Promise<Postgres> {
  const [version = ''] = readdirSync(VERSIONS).sort((a, b) => Number(b) - Number(a))
  const bin = join(VERSIONS, version, 'bin')
  const data = join(folder, 'postgres')
  const port = await freePort()
  mkdirSync(data)
  // PostgreSQL refuses to run as root; Debian's package brings a user for it, who must be able to walk there.
  const root = process.getuid?.() === 0
  const user = root ? { uid: idOf('-u'), gid: idOf('-g') } : {}
  if (root) {
    chmodSync(folder, 0o711)
    execFileSync('chown', ['postgres', data])
  }
  const options = { ...user, cwd: data, stdio: 'pipe' } as const
  execFileSync(join(bin, 'initdb'), ['-D', data, '-U', 'me', '--auth=trust', '-N', '--locale=C'], options)
  const settings = {
    port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    fsync: 'off',
    max_connections: 60,
  }
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const server = new Running(spawn(join(bin, 'postgres'), ['-D', data, ...flags], options), 'postgres')
  await server.says(/ready to accept connections/)
  return { port, [Symbol.asyncDispose]: async () => void (await server.stop('SIGINT')) }
}

function idOf(flag: '-u' | '-g'): number {
  return Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }))
}
