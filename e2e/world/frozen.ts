import { setTimeout as wait } from 'node:timers/promises'
import { type JoinedWorld, startJoined } from './joined.ts'
import { startOrigin } from './origin.ts'
import type { Running } from './program.ts'
import { Steady } from './steady.ts'

/** Security.md row 151, and the suspending of row 148: what a program that stood still for so long costs, in seconds. */
export interface Thawed {
  /** Whoever was connected was told, while it stood: the stream was cut. */
  readonly cut: boolean
  /** From its going on to the daemon's next connection; absent where that lived on. */
  readonly connected?: number
  /** From its going on to the first bytes there and back, through the same listener. */
  readonly served: number
}

const APP = 'db.localhost'
const AWAY = 'away.localhost'

/** @param briefly seconds that nobody notices: the stream goes on. Absent: not tried */
export async function freezeEdge(seconds: number, briefly?: number): Promise<Thawed> {
  await using origin = await startOrigin(socket => socket.pipe(socket))
  await using world = await startJoined({ apps: { [APP]: { service: `tcp://127.0.0.1:${origin.port}` } } })
  const { port } = await world.forward(APP)
  using steady = await Steady.at(port)
  await steady.goesOn()
  if (briefly !== undefined) {
    await standing(world.edge, briefly)
    await steady.goesOn()
  }
  const from = world.daemon().stderr.length
  await standing(world.edge, seconds)
  return await thawed(steady, port, () => saidAgain(world.daemon(), from))
}

/** A daemon, and at the same time a client of another one. */
export async function freezeEnds(seconds: number): Promise<{ readonly daemon: Thawed; readonly client: Thawed }> {
  await using origin = await startOrigin(socket => socket.pipe(socket))
  const service = `tcp://127.0.0.1:${origin.port}`
  const apps = { [APP]: { service }, [AWAY]: { service, tunnel: 'away' } }
  await using world = await startJoined({ apps, here: true })
  const [near, far] = [await world.forward(APP), await world.forward(AWAY)]
  using one = await Steady.at(near.port)
  using other = await Steady.at(far.port)
  await Promise.all([one.goesOn(), other.goesOn()])
  const daemon = world.daemon('away')
  const from = daemon.stderr.length
  await Promise.all([standing(near.access, seconds), standing(daemon, seconds, () => isForgotten(world))])
  const [client, thawedDaemon] = await Promise.all([
    thawed(one, near.port),
    thawed(other, far.port, () => saidAgain(daemon, from)),
  ])
  return { daemon: thawedDaemon, client }
}

/** An edge that took it for alive would go on sending visitors there. */
function isForgotten(world: JoinedWorld): void {
  const { connectors } = world.here.counts()
  if (connectors !== 4) throw new Error(`the edge still counts ${connectors} connections: 4 of them answer`)
}

async function standing({ child }: Running, seconds: number, meanwhile?: () => void): Promise<void> {
  child.kill('SIGSTOP')
  try {
    await wait(seconds * 1000)
    meanwhile?.()
  } finally {
    child.kill('SIGCONT')
  }
}

async function saidAgain(daemon: Running, from: number): Promise<void> {
  for (const late = Date.now() + 60_000; !daemon.stderr.slice(from).includes('connected to the edge'); await wait(10))
    if (Date.now() > late)
      throw new Error(
        `the daemon (${daemon.child.exitCode}, ${daemon.child.signalCode}) did not come back:\n${daemon.stderr.slice(from)}`,
      )
}

async function thawed(steady: Steady, port: number, connected?: () => Promise<void>): Promise<Thawed> {
  const began = performance.now()
  const since = () => Math.round(performance.now() - began) / 1000
  const back = connected?.().then(since)
  const served = servedAgain(port).then(since)
  const [at, first] = await Promise.all([back, served])
  // A client that stood still hears of it now.
  await steady.goesOn().catch(() => {})
  return { cut: steady.fault !== undefined, served: first, ...(at !== undefined && { connected: at }) }
}

/** As people do: once more when it failed. */
async function servedAgain(port: number): Promise<void> {
  for (const late = Date.now() + 60_000; ; await wait(50)) {
    try {
      using steady = await Steady.at(port)
      await steady.goesOn(1000)
      return
    } catch (error) {
      if (Date.now() > late) throw error
    }
  }
}
