import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { find } from '../../scripts/peers.mjs'
import type { LoadPlace } from '../load/load.ts'
import type { Place } from '../peers/peer.ts'
import { Started } from '../processes.ts'

/** What the network between the user and everything else is like. */
export const LINK = { roundTripMs: 50, lossPercent: 0.5 } as const
/** Packets under way; netem's own limit of 1,000 would lose more than it is told to. */
const QUEUE = 20_000
/** Of TEST-NET-2 (RFC 5737): nobody's own. */
const [NEAR, FAR] = ['198.51.100.1', '198.51.100.2']
const DOMAIN = 'postern.test'
/** Where `ip netns exec` takes files from that stand in for those of /etc. */
const ETC = '/etc/netns'

export interface Network extends AsyncDisposable {
  /** What delays and loses. */
  readonly by: 'netem' | 'link.c'
  readonly place: Place
  readonly load: LoadPlace
}

/** Why there can be no such network here, or undefined. */
export function networkMissing(): string | undefined {
  if (process.platform !== 'linux') return 'network namespaces are Linux’s'
  if (process.getuid?.() !== 0) return 'only root can make network namespaces'
  const missing = ['ip', 'tc'].filter(name => find(name) === undefined)
  if (missing.length > 0) return `no ${missing.join(' and ')}: apt-get install iproute2`
  if (hasNetem()) return undefined
  if (!existsSync('/dev/net/tun')) return 'this kernel has neither netem nor TUN devices'
  return find('cc') === undefined ? 'this kernel has no netem, and nothing compiles C (apt-get install gcc)' : undefined
}

function hasNetem(): boolean {
  const probe = `postern-probe-${process.pid}`
  const words = ['qdisc', 'add', 'dev', 'lo', 'root', 'netem', 'delay', '1ms']
  if (spawnSync('ip', ['netns', 'add', probe]).status !== 0) return false
  const { status } = spawnSync('ip', ['netns', 'exec', probe, 'tc', ...words])
  spawnSync('ip', ['netns', 'delete', probe])
  return status === 0
}

/**
 * Two network namespaces with a slow link that loses packets between them: by netem, or by [link.c](link.c) where the kernel has none. They go
 * with it.
 *
 * @param folder where link.c is compiled to
 */
export async function makeNetwork(folder: string): Promise<Network> {
  const [near, far] = [`postern-near-${process.pid}`, `postern-far-${process.pid}`]
  await using owned = new AsyncDisposableStack()
  for (const name of [near, far]) {
    run('ip', 'netns', 'add', name)
    owned.defer(() => void spawnSync('ip', ['netns', 'delete', name]))
    owned.defer(writeHosts(name))
    run('ip', 'netns', 'exec', name, 'ip', 'link', 'set', 'lo', 'up')
  }
  const by = hasNetem() ? 'netem' : 'link.c'
  if (by === 'netem') joinByNetem(near, far)
  else owned.use(await joinByProgram(near, far, folder))
  const words = { near: ['ip', 'netns', 'exec', near], far: ['ip', 'netns', 'exec', far] }
  const parts = owned.move()
  return {
    by,
    place: { address: NEAR, domain: DOMAIN, ...words },
    load: { address: NEAR, target: '127.0.0.1', ...words },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

function joinByNetem(near: string, far: string): void {
  run('ip', 'link', 'add', 'near', 'netns', near, 'type', 'veth', 'peer', 'name', 'far', 'netns', far)
  const bad = ['delay', `${LINK.roundTripMs / 2}ms`, 'loss', `${LINK.lossPercent}%`, 'limit', String(QUEUE)]
  const ends = [
    [near, 'near', NEAR],
    [far, 'far', FAR],
  ] as const
  for (const [name, device, address] of ends) {
    const inside = (...words: string[]) => run('ip', 'netns', 'exec', name, ...words)
    inside('ip', 'address', 'add', `${address}/24`, 'dev', device)
    inside('ip', 'link', 'set', device, 'up')
    inside('tc', 'qdisc', 'add', 'dev', device, 'root', 'netem', ...bad)
  }
}

async function joinByProgram(near: string, far: string, folder: string): Promise<AsyncDisposable> {
  const binary = join(folder, 'link')
  run('cc', '-O2', '-o', binary, join(import.meta.dirname, 'link.c'))
  const [delay, loss] = [String(LINK.roundTripMs * 500), String(LINK.lossPercent * 1e4)]
  const link = new Started(binary, [near, NEAR, far, FAR, delay, loss], {}, 'pipe')
  await link.until(() => link.said.includes('up'))
  return link
}

/** The edge's names, for the programs of a namespace alone. @returns what takes them away */
function writeHosts(namespace: string): () => void {
  const folder = join(ETC, namespace)
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'hosts'), `127.0.0.1 localhost\n${NEAR} bench.${DOMAIN} edge.${DOMAIN}\n`)
  return () => {
    rmSync(folder, { recursive: true, force: true })
    try {
      rmdirSync(ETC)
    } catch {
      // there are others in it
    }
  }
}

function run(program: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(program, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr.trim()}`)
}
