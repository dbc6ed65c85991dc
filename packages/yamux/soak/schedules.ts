// npm run soak -- yamux-schedules
import { runSchedule } from '../test/schedule.ts'

export const stated = {
  schedules: 2000,
  /** Streams of each schedule. */
  streams: 200,
  /** Largest number of bytes one side writes on one stream. */
  maxBytes: 800_000,
  seed: 1,
}

/** Throws, with the seed, at the first schedule that loses, invents, reorders or leaves over anything. */
export default async function schedules(size: Partial<typeof stated> = {}): Promise<Record<string, number | string>> {
  const { schedules: count, streams, maxBytes, seed } = { ...stated, ...size }
  const started = performance.now()
  const sum = { clean: 0, cut: 0, bytes: 0 }
  for (let n = 0; n < count; n++) {
    const report = await runSchedule(seed + n, { streams, maxBytes })
    sum.clean += report.clean
    sum.cut += report.cut
    sum.bytes += report.bytes
    if (n % 50 === 49) process.stderr.write(`yamux-schedules: ${n + 1} of ${count}\n`)
  }
  const seconds = Math.round((performance.now() - started) / 1000)
  return {
    schedules: count,
    streams: count * streams,
    'directions read to a clean end': sum.clean,
    'directions cut': sum.cut,
    bytes: sum.bytes,
    seed,
    seconds,
  }
}
