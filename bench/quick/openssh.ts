import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { findSshd, freePort, makeSshKeys, startSshd } from '@postern/dev'
import { find, PEERS } from '../../scripts/peers.mjs'
import { ENVIRONMENT, Started } from '../processes.ts'
import type { Peer } from './peer.ts'
import { reachable } from './reach.ts'

/** @throws with the command that brings what is missing */
export function requireOpenSsh(): { readonly ssh: string; readonly sshd: string } {
  const [ssh, sshd] = [find('ssh'), findSshd()]
  if (ssh && sshd) return { ssh, sshd }
  const packages = [ssh ? [] : PEERS.ssh?.package, sshd ? [] : PEERS.sshd?.package].flat().join(' ')
  throw new Error(`OpenSSH is what Postern is compared with, and it is not all here: apt-get install ${packages}`)
}

/** `ssh -R` beside the service and `ssh -L` beside the user, through one sshd with a configuration of its own. */
export async function startOpenSsh(folder: string, service: number): Promise<Peer> {
  const programs = requireOpenSsh()
  await using owned = new AsyncDisposableStack()
  const keys = makeSshKeys(join(folder, 'ssh'))
  const server = owned.use(await startSshd(programs.sshd, folder, keys))
  const [meeting, port] = [await freePort(), await freePort()]
  const known = join(folder, 'known_hosts')
  writeFileSync(known, `[127.0.0.1]:${server.port} ${keys.hostPublicKey}\n`)
  // -F none: nobody's own configuration takes part.
  const options = [
    `UserKnownHostsFile=${known}`,
    'StrictHostKeyChecking=yes',
    'BatchMode=yes',
    'ExitOnForwardFailure=yes',
    'IdentitiesOnly=yes',
  ]
  const common = [
    '-F',
    'none',
    '-i',
    keys.userKeyFile,
    '-p',
    String(server.port),
    ...options.flatMap(one => ['-o', one]),
  ]
  const host = `${userInfo().username}@127.0.0.1`
  const run = (...args: string[]) => owned.use(new Started(programs.ssh, [...common, '-N', ...args, host]))

  const back = run('-R', `127.0.0.1:${meeting}:127.0.0.1:${service}`)
  await back.until(() => reachable(meeting))
  const forth = run('-L', `127.0.0.1:${port}:127.0.0.1:${meeting}`)
  await forth.until(() => reachable(port))
  const facts = { version: versionOf(programs.ssh), cipher: cipherOf(programs.ssh, [...common, host, 'true']) }
  const parts = owned.move()
  return {
    name: 'OpenSSH',
    port,
    pids: [server.pid, back.pid, forth.pid],
    command: [programs.ssh, ...common, '-W', `127.0.0.1:${meeting}`, host],
    facts,
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

function versionOf(ssh: string): string {
  return spawnSync(ssh, ['-V'], { encoding: 'utf8' }).stderr.trim()
}

/** What client and server agree on when nobody says anything. */
function cipherOf(ssh: string, args: readonly string[]): string {
  const { stderr } = spawnSync(ssh, ['-v', ...args], { encoding: 'utf8', env: ENVIRONMENT, timeout: 20_000 })
  return /server->client cipher: (\S+)/.exec(stderr)?.[1] ?? 'unknown'
}
