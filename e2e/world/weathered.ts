import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { temporaryFolder } from './folder.ts'
import { type JoinedWorld, startJoined } from './joined.ts'
import type { Namespace } from './namespaces.ts'
import { Steady } from './steady.ts'
import { Network, type Weather } from './weather.ts'

/** Security.md row 141. The worst of each kind that is named there; and all of it at once, in moderation. */
export const WEATHERS: Readonly<Record<string, Weather>> = {
  'loss of 1 %': { loss: 0.01, delay: 10 },
  'loss of 5 %': { loss: 0.05, delay: 10 },
  'loss of 20 %': { loss: 0.2, delay: 10 },
  '300 ms, more or less 50': { delay: 300, jitter: 50 },
  'a quarter out of order': { delay: 20, reorder: 0.25 },
  'one of ten twice': { delay: 10, duplicate: 0.1 },
  'one of fifty with a bit wrong': { delay: 10, corrupt: 0.02 },
  '64 kbit/s': { rate: 64_000 },
  'all at once': { loss: 0.02, delay: 20, jitter: 10, reorder: 0.25, duplicate: 0.05, corrupt: 0.01 },
}

const TEAM = 'edge.postern.test'
const SECRET = 'db.postern.test'
const OPEN = 'open.postern.test'
/** Of the edge. */
export const ADDRESS = '10.90.0.1'

/** Every name of the edge's, at these addresses. */
export function namesAt(...addresses: readonly string[]): Record<string, readonly string[]> {
  return Object.fromEntries([TEAM, SECRET, OPEN].map(name => [name, addresses]))
}

/** An edge, a daemon and clients, each on a machine of its own, with weather between them. Two applications: end to end, and through the edge. */
export interface Weathered extends AsyncDisposable {
  readonly network: Network
  readonly world: JoinedWorld
  readonly machines: { readonly edge: Namespace; readonly daemon: Namespace; readonly client: Namespace }
  /** Somebody at either application. @param most as Steady's */
  visit(mode: 'end-to-end' | 'hop', most?: number): Steady
  /** Connections that the daemon lost and made, so far. */
  flaps(): number
}

export async function startWeathered(seed: number, transport?: string): Promise<Weathered> {
  const stack = new AsyncDisposableStack()
  try {
    const folder = stack.use(temporaryFolder())
    const network = stack.use(new Network(seed))
    const [edge, daemon, client] = [
      await network.machine(ADDRESS),
      await network.machine('10.90.0.2'),
      await network.machine('10.90.0.3'),
    ]
    for (const machine of [daemon, client]) machine.names(namesAt(ADDRESS))
    // A file is on every machine here: the service is nobody's network.
    const path = join(folder.path, 'service')
    const server: Server = createServer(
      { allowHalfOpen: true },
      socket => void socket.on('error', () => {}).pipe(socket),
    )
    await new Promise<void>(resolve => server.listen(path, resolve))
    stack.defer(() => void server.close())
    const service = `unix:${path}`
    const world = stack.use(
      await startJoined({
        apps: { [SECRET]: { service, mode: 'end-to-end' }, [OPEN]: { service, mode: 'hop' } },
        ...{ team: TEAM, address: '0.0.0.0' },
        ...(transport !== undefined && { transport }),
        places: { edge: edge.place, daemon: daemon.place, client: client.place },
      }),
    )
    const owned = stack.move()
    return {
      network,
      world,
      machines: { edge, daemon, client },
      visit(mode, most) {
        const access = world.tcp(mode === 'hop' ? OPEN : SECRET)
        const { stdin, stdout } = access.child
        if (!stdin || !stdout) throw new Error('no pipes')
        return new Steady(stdin, stdout, most)
      },
      flaps: () => world.daemon().stderr.match(/connection to the edge ended/g)?.length ?? 0,
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    }
  } finally {
    await stack.disposeAsync()
  }
}
