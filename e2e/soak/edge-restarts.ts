import { setTimeout as wait } from 'node:timers/promises'
import { startOrigin } from '../world/origin.ts'
import { startWorld } from '../world/world.ts'

/** security.md row 137: the edge is killed with -9 and away for up to `longestOutage` seconds; how soon is its daemon back? */
export const stated = { kills: 20, longestOutage: 20, seed: 1 }

export default async function (size: typeof stated): Promise<Record<string, number | string>> {
  await using origin = await startOrigin(socket => socket.pipe(socket))
  await using world = await startWorld({ hostname: 'db.localhost', service: `tcp://127.0.0.1:${origin.port}` })
  const seconds: number[] = []
  for (let kill = 0; kill < size.kills; kill += 1) {
    await world.edge.stop('SIGKILL')
    // Spread evenly over the range, in an order the seed gives: no two runs of one seed differ.
    await wait(((((kill * 7 + size.seed) % size.kills) + 0.5) / size.kills) * size.longestOutage * 1000)
    const before = world.daemon.stderr.length
    await world.startEdge()
    const up = performance.now()
    while (!world.daemon.stderr.slice(before).includes('connected to the edge')) {
      if (performance.now() - up > 60_000) throw new Error(`not back after a minute:\n${world.daemon.stderr}`)
      await wait(10)
    }
    seconds.push((performance.now() - up) / 1000)
    process.stderr.write(`${kill + 1}: back after ${seconds.at(-1)?.toFixed(2)} s\n`)
  }
  seconds.sort((a, b) => a - b)
  const at = (share: number) => Math.round((seconds[Math.ceil(share * seconds.length) - 1] ?? 0) * 100) / 100
  return { 'seconds to the first connection, median': at(0.5), p95: at(0.95), most: at(1) }
}
