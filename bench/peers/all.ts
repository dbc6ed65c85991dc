import { findOpenSsh } from './openssh.ts'
import type { Contender, Found, Setting } from './peer.ts'
import { findPostern } from './postern.ts'
import { findProxies } from './proxies.ts'
import { makeTls } from './tls.ts'
import { findTunnels } from './tunnels.ts'
import { findYamux } from './yamux.ts'

/** The load straight to the service: more than this no peer can show here. */
export const NOTHING = 'nothing-between'

/** Everything that can be measured on this machine, Postern first, and what is missing. */
export async function findAll(setting: Setting): Promise<Found> {
  const tls = await makeTls(setting.folder)
  const found = [
    await findPostern(setting),
    findOpenSsh(setting),
    findProxies(setting, tls),
    findYamux(setting, tls),
    findTunnels(setting, tls),
  ]
  return {
    there: [...found.flatMap(one => one.there), nothing(setting)],
    missing: found.flatMap(one => one.missing),
  }
}

function nothing({ load }: Setting): Contender {
  const start = async () => ({ port: load.port, pids: [], async [Symbol.asyncDispose]() {} })
  return { name: NOTHING, facts: {}, start }
}

/** The best way that is there stands for Postern, in this order. */
const FAST = ['end-to-end/tls', 'end-to-end/websocket', 'hop/tls', 'hop/websocket']

/** @returns of these names the way that the targets are about */
export function fastestOf(names: readonly string[]): string | undefined {
  return FAST.find(name => names.includes(name)) ?? names.find(isPostern)
}

/** Whether it is one of Postern's transports and modes. */
export function isPostern(name: string): boolean {
  return name.includes('/')
}
