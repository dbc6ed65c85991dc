// npm run soak -- yamux-fuzz
import { fuzzParser } from '../test/fuzz.ts'

export const stated = {
  /** Mutated transcripts, each into a fresh session. */
  executions: 10_000_000,
  seed: 1,
}

/** Throws at the first crash, broken limit or frame that depends on segmentation. */
export default async function fuzz(size: Partial<typeof stated> = {}): Promise<Record<string, number | string>> {
  const { executions, seed } = { ...stated, ...size }
  const started = performance.now()
  const report = await fuzzParser(seed, executions, done =>
    process.stderr.write(`yamux-fuzz: ${done} of ${executions}\n`),
  )
  const seconds = (performance.now() - started) / 1000
  return {
    ...report,
    seed,
    crashes: 0,
    seconds: Math.round(seconds),
    'executions per second': Math.round(executions / seconds),
  }
}
