import { spawnSync } from 'node:child_process'
import { mkdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { find } from '../../scripts/peers.mjs'
import type { LoadPlace } from '../load/load.ts'
import type { Place } from '../peers/peer.ts'

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
  readonly place: Place
  readonly load: LoadPlace
}

/** Why there can be no such network here, or undefined. */
export function networkMissing(): string | undefined {
  if (process.platform !== 'linux') return 'network namespaces are Linux’s'
  if (process.getuid?.() !== 0) return 'only root can make network namespaces'
  const missing = ['ip', 'tc'].filter(name => find(name) === undefined)
  if (missing.length > 0) return `no ${missing.join(' and ')}: apt-get install iproute2`
  const probe = `postern-probe-${process.pid}`
  const made = spawnSync('ip', ['netns', 'add', probe], { encoding: 'utf8' })
  if (made.status !== 0) return `no network namespace can be made: ${made.stderr.trim()}`
  const delayed = spawnSync('ip', [
    'netns',
    'exec',
    probe,
    'tc',
    'qdisc',
    'add',
    'dev',
    'lo',
    'root',
    'netem',
    'delay',
    '1ms',
  ])
  spawnSync('ip', ['netns', 'delete', probe])
  return delayed.status === 0 ? undefined : 'this kernel has no netem (tc qdisc add … netem)'
}

/** Two network namespaces with a slow link that loses packets between them. They go with it. */
export function makeNetwork(): Network {
  const [near, far] = [`postern-near-${process.pid}`, `postern-far-${process.pid}`]
  const owned = new DisposableStack()
  try {
    for (const name of [near, far]) {
      run('ip', 'netns', 'add', name)
      owned.defer(() => spawnSync('ip', ['netns', 'delete', name]))
      owned.defer(writeHosts(name))
    }
    run('ip', 'link', 'add', 'near', 'netns', near, 'type', 'veth', 'peer', 'name', 'far', 'netns', far)
    for (const [name, device, address] of [
      [near, 'near', NEAR],
      [far, 'far', FAR],
    ] as const) {
      const inside = (...words: string[]) => run('ip', 'netns', 'exec', name, ...words)
      inside('ip', 'link', 'set', 'lo', 'up')
      inside('ip', 'address', 'add', `${address}/24`, 'dev', device)
      inside('ip', 'link', 'set', device, 'up')
      const bad = ['delay', `${LINK.roundTripMs / 2}ms`, 'loss', `${LINK.lossPercent}%`, 'limit', String(QUEUE)]
      inside('tc', 'qdisc', 'add', 'dev', device, 'root', 'netem', ...bad)
    }
  } catch (error) {
    owned.dispose()
    throw error
  }
  const words = { near: ['ip', 'netns', 'exec', near], far: ['ip', 'netns', 'exec', far] }
  return {
    place: { address: NEAR, domain: DOMAIN, ...words },
    load: { address: NEAR, target: '127.0.0.1', ...words },
    async [Symbol.asyncDispose]() {
      owned.dispose()
    },
  }
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
