// Tunnels that Debian does not have. Configured as their own documentation says, with TLS or its like wherever they can; measured when they are
// on the PATH.
import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '@postern/dev'
import { find } from '../../scripts/peers.mjs'
import { isListening, Started } from '../processes.ts'
import type { Found, Peer, Setting } from './peer.ts'
import type { TlsFiles } from './tls.ts'

interface Ports {
  /** Where the server listens, where it leads to the service, and where the user connects. */
  readonly server: number
  readonly meeting: number
  readonly user: number
  readonly service: number
}

/** Command lines: the server in the middle, what runs beside the service, what runs beside the user. */
type Three = readonly [server: readonly string[], beside: readonly string[], user: readonly string[] | undefined]

interface Tunnel {
  readonly programs: readonly string[]
  readonly from: string
  readonly encrypts: string
  /** @param write keeps a file, and says where */
  commands(ports: Ports, tls: TlsFiles, write: (name: string, text: string) => string): Three
}

const at = (port: number) => `127.0.0.1:${port}`

const TUNNELS: Readonly<Record<string, Tunnel>> = {
  chisel: {
    programs: ['chisel'],
    from: 'https://github.com/jpillora/chisel',
    encrypts: 'SSH in WebSocket in TLS, on both hops',
    commands(ports, tls) {
      const pair = ['--tls-cert', tls.certFile, '--tls-key', tls.keyFile]
      const client = ['chisel', 'client', '--tls-skip-verify', `https://${at(ports.server)}`]
      const server = ['chisel', 'server', '--host', '127.0.0.1', '--port', `${ports.server}`, '--reverse', ...pair]
      const back = [...client, `R:${at(ports.meeting)}:${at(ports.service)}`]
      return [server, back, [...client, `${at(ports.user)}:${at(ports.meeting)}`]]
    },
  },
  frp: {
    programs: ['frps', 'frpc'],
    from: 'https://github.com/fatedier/frp',
    encrypts: 'TLS on both hops; stcp',
    commands(ports, _tls, write) {
      const to = `serverAddr = "127.0.0.1"\nserverPort = ${ports.server}\nloginFailExit = false\n`
      const server = write('frps.toml', `bindAddr = "127.0.0.1"\nbindPort = ${ports.server}\n`)
      const proxy = `[[proxies]]\nname = "bench"\ntype = "stcp"\nsecretKey = "bench"\nlocalIP = "127.0.0.1"\nlocalPort = ${ports.service}\n`
      const visitor = `[[visitors]]\nname = "user"\ntype = "stcp"\nserverName = "bench"\nsecretKey = "bench"\nbindAddr = "127.0.0.1"\nbindPort = ${ports.user}\n`
      const beside = write('frpc.toml', `${to}${proxy}`)
      return [
        ['frps', '-c', server],
        ['frpc', '-c', beside],
        ['frpc', '-c', write('visitor.toml', `${to}${visitor}`)],
      ]
    },
  },
  wstunnel: {
    programs: ['wstunnel'],
    from: 'https://github.com/erebe/wstunnel',
    encrypts: 'WebSocket in TLS, one connection each, on both hops',
    commands(ports, tls) {
      const pair = ['--tls-certificate', tls.certFile, '--tls-private-key', tls.keyFile]
      const to = `wss://${at(ports.server)}`
      return [
        ['wstunnel', 'server', ...pair, to],
        ['wstunnel', 'client', '-R', `tcp://${at(ports.meeting)}:${at(ports.service)}`, to],
        ['wstunnel', 'client', '-L', `tcp://${at(ports.user)}:${at(ports.meeting)}`, to],
      ]
    },
  },
  rathole: {
    programs: ['rathole'],
    from: 'https://github.com/rapiz1/rathole',
    encrypts: 'Noise on the one hop that it has; the user’s is in the clear',
    commands(ports, _tls, write) {
      const noise = '[transport]\ntype = "noise"\n'
      const of = (role: string) => noise.replace('[', `[${role}.`)
      const server = `[server]\nbind_addr = "${at(ports.server)}"\ndefault_token = "bench"\n${of('server')}[server.services.bench]\nbind_addr = "${at(ports.user)}"\n`
      const client = `[client]\nremote_addr = "${at(ports.server)}"\ndefault_token = "bench"\n${of('client')}[client.services.bench]\nlocal_addr = "${at(ports.service)}"\n`
      const [one, other] = [write('server.toml', server), write('client.toml', client)]
      return [['rathole', '--server', one], ['rathole', '--client', other], undefined]
    },
  },
}

/** Whatever of them is on the PATH. */
export function findTunnels(setting: Setting, tls: TlsFiles): Found {
  const entries = Object.entries(TUNNELS)
  const isThere = ([, { programs }]: (typeof entries)[number]) => programs.every(one => find(one) !== undefined)
  return {
    there: entries.filter(isThere).map(([name, tunnel]) => ({
      name,
      facts: { version: versionOf(tunnel.programs[0] ?? name), encrypts: tunnel.encrypts },
      start: () => start(setting, name, tunnel, tls),
    })),
    missing: entries
      .filter(one => !isThere(one))
      .map(([name, { programs, from }]) => ({ name, needs: `${programs.join(' and ')} on the PATH, from ${from}` })),
  }
}

function versionOf(program: string): string {
  const { stdout, stderr } = spawnSync(program, ['--version'], { encoding: 'utf8', timeout: 5000 })
  return `${stdout}${stderr}`.trim().split('\n')[0] ?? ''
}

async function start({ folder, load }: Setting, name: string, tunnel: Tunnel, tls: TlsFiles): Promise<Peer> {
  await using owned = new AsyncDisposableStack()
  const ports = { server: await freePort(), meeting: await freePort(), user: await freePort(), service: load.port }
  mkdirSync(join(folder, name), { recursive: true })
  const write = (file: string, text: string) => {
    const path = join(folder, name, file)
    writeFileSync(path, text)
    return path
  }
  const commands = tunnel.commands(ports, tls, write)
  const pids: number[] = []
  for (const [index, words] of commands.entries()) {
    if (!words) continue
    const [program = '', ...args] = words
    const started = owned.use(new Started(find(program) ?? program, args))
    pids.push(started.pid)
    if (index === 0) await started.until(() => isListening(ports.server, started.pid))
    if (index === commands.length - 1 || !commands[index + 1]) await started.until(() => load.reaches(ports.user))
  }
  const parts = owned.move()
  return { port: ports.user, pids, [Symbol.asyncDispose]: () => parts.disposeAsync() }
}
