import { causesOf } from '../world/causes.ts'
import { temporaryFolder } from '../world/folder.ts'
import { KINDS } from '../world/open-things.ts'
import { type Cut, Revocations } from '../world/revocation.ts'

/**
 * security.md rows 67 and 68: somebody who has one thing open is put out, in every way there is, and the time to their end is taken;
 * others with the same kinds of things open are not touched.
 */
export const stated = { each: 42, seed: 1 }

export default async function (size: typeof stated): Promise<Record<string, number | string>> {
  using folder = temporaryFolder()
  await using world = await Revocations.start(folder.path)
  await world.openBystanders(KINDS)
  const random = mulberry(size.seed)
  const cases = KINDS.flatMap(kind => {
    const causes = causesOf(kind)
    return Array.from({ length: size.each }, (_, n) => ({
      kind,
      cause: causes[n % causes.length] ?? '',
      isBusy: random() < 0.5,
    }))
  })
  shuffle(cases, random)
  const cuts: Cut[] = []
  for (const { cause, ...one } of cases) {
    cuts.push(...(await world.putOut(cause, [one])))
    const { kind, ms, msFromAsking, how, why } = cuts.at(-1) as Cut
    process.stderr.write(
      `${cuts.length}: ${kind}, ${cause}: ${ms.toFixed(1)} ms (${msFromAsking.toFixed(1)}), ${how}, ${why}\n`,
    )
    if (cuts.length % 20 === 0) await world.untouched()
  }
  await world.untouched()
  const figures = Object.fromEntries(
    [...KINDS, 'all'].map(kind => {
      const own = cuts.filter(one => kind === 'all' || one.kind === kind)
      return [
        kind,
        `${own.length}: ${said(own.map(({ ms }) => ms))}; from the asking ${said(own.map(one => one.msFromAsking))}`,
      ]
    }),
  )
  const longest = Math.max(...cuts.map(({ ms }) => ms))
  if (longest > 5000) throw new Error(`${longest} ms: ${JSON.stringify(figures)}`)
  return { revocations: cuts.length, ways: new Set(cuts.map(({ cause }) => cause)).size, ...figures }
}

function said(all: readonly number[]): string {
  const sorted = all.toSorted((one, other) => one - other)
  const at = (share: number) => (sorted[Math.ceil(share * sorted.length) - 1] ?? 0).toFixed(1)
  return `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, most ${at(1)} ms`
}

function shuffle(list: unknown[], random: () => number): void {
  for (let n = list.length - 1; n > 0; n--) {
    const other = Math.floor(random() * (n + 1))
    ;[list[n], list[other]] = [list[other], list[n]]
  }
}

/** The same numbers for the same seed. */
function mulberry(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
