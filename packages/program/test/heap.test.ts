import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

const [major = 0, minor = 0] = process.versions.v8.split('.').map(Number)

/** How often V8 walks the whole heap while a program that keeps much gets 4 GiB in buffers, and keeps none of them. */
const WORK = `
import { PerformanceObserver } from 'node:perf_hooks'
import { runProgram } from ${JSON.stringify(join(import.meta.dirname, '../src/index.ts'))}
await runProgram('carry', async program => {
  const kept = Array.from({ length: 800_000 }, (_, n) => ({ n, name: 'x' + n }))
  let walks = 0
  const count = entries => { for (const { detail } of entries) if (detail.kind === 4) walks += 1 }
  const observer = new PerformanceObserver(list => count(list.getEntries()))
  observer.observe({ entryTypes: ['gc'] })
  for (let n = 0; n < 8192; n += 1) {
    Buffer.allocUnsafeSlow(524_288)
    await new Promise(done => setImmediate(done))
  }
  await new Promise(done => setTimeout(done, 50))
  count(observer.takeRecords())
  program.print(kept.length > 0 && String(walks))
})`

async function walks(...flags: string[]): Promise<number> {
  const args = [...flags, '--input-type=module', '-e', WORK]
  const cwd = join(import.meta.dirname, '..')
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd, timeout: 30_000 })
  return Number(stdout)
}

it.skipIf(major > 14 || (major === 14 && minor >= 8))(
  'buffers that are held are reckoned with, not those that were; a flag that was given stays',
  async () => {
    const [ever, held] = [await walks('--no-external-memory-accounted-in-global-limit'), await walks()]
    expect(ever).toBeGreaterThan(4 * held) // 7 to 29 beside 1
  },
)
