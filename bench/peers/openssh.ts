import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { freePort, makeSshKeys } from '@postern/dev'
import { find, PEERS } from '../../scripts/peers.mjs'
import { Started } from '../processes.ts'
import type { Contender, Found, Peer, Setting } from './peer.ts'

/** Where OpenSSH keeps its empty folder when it runs as root; a machine that never started sshd has none yet. */
const PRIVILEGE_SEPARATION = '/run/sshd'
const CIPHERS = { ssh: undefined, 'ssh-aes128-gcm': 'aes128-gcm@openssh.com' } as const
type Keys = ReturnType<typeof makeSshKeys>

/** `ssh -R` beside the service and `ssh -L` beside the user, through one sshd with a configuration of its own. */
export function findOpenSsh(setting: Setting): Found {
  const programs = { ssh: find('ssh'), sshd: find('sshd') }
  const { ssh, sshd } = programs
  if (!ssh || !sshd) {
    const packages = (['ssh', 'sshd'] as const).filter(one => !programs[one]).map(one => PEERS[one]?.package)
    const needs = `apt-get install ${packages.join(' ')}`
    return { there: [], missing: Object.keys(CIPHERS).map(name => ({ name, needs })) }
  }
  const keys = makeSshKeys(join(setting.folder, 'ssh'))
  const version = spawnSync(ssh, ['-V'], { encoding: 'utf8' }).stderr.trim()
  const there = Object.entries(CIPHERS).map(([name, cipher]): Contender => {
    const encrypts = cipher ?? `${firstCipher(ssh)}, the default`
    return { name, facts: { version, encrypts }, start: () => start(setting, { ssh, sshd }, keys, cipher) }
  })
  return { there, missing: [] }
}

/** What the client offers first: the server takes the first that it has too, and they are of one version. */
function firstCipher(ssh: string): string {
  const said = spawnSync(ssh, ['-G', '-F', 'none', 'localhost'], { encoding: 'utf8' }).stdout
  return /^ciphers ([^,\n]+)/m.exec(said)?.[1] ?? 'unknown'
}

async function start(
  { folder, place, load }: Setting,
  programs: { readonly ssh: string; readonly sshd: string },
  keys: Keys,
  cipher: string | undefined,
): Promise<Peer> {
  await using owned = new AsyncDisposableStack()
  const [serverPort, meeting, port] = [await freePort(), await freePort(), await freePort()]
  const config = join(folder, 'sshd_config')
  writeFileSync(config, settings(place.address, serverPort, keys))
  if (process.getuid?.() === 0 && !existsSync(PRIVILEGE_SEPARATION)) {
    mkdirSync(PRIVILEGE_SEPARATION, { mode: 0o755 })
    owned.defer(() => rmSync(PRIVILEGE_SEPARATION, { recursive: true, force: true }))
  }
  const known = join(folder, 'known_hosts')
  writeFileSync(known, `[${place.address}]:${serverPort} ${keys.hostPublicKey}\n`)
  // -F none: nobody's own configuration takes part.
  const options = [
    `UserKnownHostsFile=${known}`,
    'StrictHostKeyChecking=yes',
    'BatchMode=yes',
    'ExitOnForwardFailure=yes',
    'IdentitiesOnly=yes',
    ...(cipher ? [`Ciphers=${cipher}`] : []),
  ]
  const host = `${userInfo().username}@${place.address}`
  const common = [
    '-F',
    'none',
    '-i',
    keys.userKeyFile,
    '-p',
    String(serverPort),
    ...options.flatMap(one => ['-o', one]),
  ]
  const run = (where: readonly string[], ...words: string[]) => {
    const [program = '', ...args] = [...where, ...words]
    return owned.use(new Started(program, args))
  }
  const asked = (...args: string[]) => [programs.ssh, ...common, ...args]

  const server = run(place.near, programs.sshd, '-D', '-e', '-f', config)
  const probe = [...place.far, ...asked(host, 'true')]
  await server.until(() => spawnSync(probe[0] ?? '', probe.slice(1), { stdio: 'ignore' }).status === 0)
  const forward = `127.0.0.1:${meeting}:${place.address}:${load.port}`
  const back = run(place.near, ...asked('-N', '-v', '-R', forward, host))
  await back.until(() => back.said.includes('remote forward success'))
  const forth = run(place.far, ...asked('-N', '-L', `127.0.0.1:${port}:127.0.0.1:${meeting}`, host))
  await forth.until(() => load.reaches(port))
  const [program = '', ...args] = [...place.far, ...asked('-W', `127.0.0.1:${meeting}`, host)]
  const parts = owned.move()
  return {
    port,
    pids: [server.pid, back.pid, forth.pid],
    command: { words: [program, ...args], env: {} },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

function settings(address: string, port: number, keys: Keys): string {
  return [
    `Port ${port}`,
    `ListenAddress ${address}`,
    `HostKey "${keys.hostKeyFile}"`,
    `AuthorizedKeysFile "${keys.authorizedKeysFile}"`,
    `AllowUsers ${userInfo().username}`,
    'PermitRootLogin prohibit-password',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'UsePAM no',
    'StrictModes no', // the keys lie below a temporary folder, whose parent everybody may write
    'PidFile none',
    'PrintMotd no',
    'PrintLastLog no',
    'LogLevel ERROR',
    '',
  ].join('\n')
}
