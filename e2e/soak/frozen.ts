import { freezeEdge, freezeEnds } from '../world/frozen.ts'

/** security.md rows 148 and 151: each of the three programs stands still for `seconds`; how soon is everything back? */
export const stated = { seconds: 60, turns: 3 }

export default async function (size: typeof stated): Promise<Record<string, number | string>> {
  const most = { edge: 0, daemon: 0, client: 0 }
  for (let turn = 0; turn < size.turns; turn += 1) {
    const [edge, ends] = await Promise.all([freezeEdge(size.seconds, 3), freezeEnds(size.seconds)])
    for (const [name, { cut, served, connected = 0 }] of Object.entries({ edge, ...ends })) {
      if (!cut) throw new Error(`nobody noticed that the ${name} stood still`)
      const at = name as keyof typeof most
      most[at] = Math.max(most[at], served, connected)
    }
    process.stderr.write(`${turn + 1}: ${JSON.stringify({ edge, ...ends })}\n`)
  }
  return {
    'seconds from the edge’s going on to service, most': most.edge,
    'from the daemon’s': most.daemon,
    'from the client’s': most.client,
  }
}
