import { setTimeout as wait } from 'node:timers/promises'
import { TRANSPORTS } from '../world/joined.ts'
import { startWeathered, WEATHERS } from '../world/weathered.ts'

/** security.md row 141: each kind of bad network for `seconds`, with somebody at an application through the edge and somebody end to end. */
export const stated = { seconds: 120, seed: 1 }

export default async function (size: typeof stated): Promise<Record<string, number | string>> {
  // Each has a network of its own, and is told to wait, not to work: they go side by side.
  const figures = await Promise.all(TRANSPORTS.map(transport => over(transport, size)))
  return Object.assign({}, ...figures)
}

async function over(transport: string, { seconds, seed }: typeof stated): Promise<Record<string, number | string>> {
  const figures: Record<string, number | string> = {}
  await using weathered = await startWeathered(seed, transport)
  for (const [kind, weather] of Object.entries(WEATHERS)) {
    weathered.network.weather = {}
    using secret = weathered.visit('end-to-end')
    using open = weathered.visit('hop')
    await Promise.all([secret.goesOn(), open.goesOn()])
    weathered.network.weather = weather
    const before = { secret: secret.back, open: open.back, flaps: weathered.flaps() }
    await wait(seconds * 1000)
    // Neither is stuck, nor was any byte another.
    await Promise.all([secret.goesOn(1000, 60), open.goesOn(1000, 60)])
    const rate = (bytes: number) => `${Math.round((bytes * 8) / seconds / 1000)} kbit/s`
    figures[`${transport}, ${kind}: end to end`] = rate(secret.back - before.secret)
    figures[`${transport}, ${kind}: through the edge`] = rate(open.back - before.open)
    figures[`${transport}, ${kind}: connections of the daemon lost`] = weathered.flaps() - before.flaps
    process.stderr.write(
      `${transport}, ${kind}: ${rate(secret.back - before.secret)}, ${weathered.flaps() - before.flaps} lost\n`,
    )
  }
  return figures
}
