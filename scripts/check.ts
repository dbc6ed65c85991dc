// `npm run check`: what is not a test. Each check runs, whatever the one before it said; the last line counts. One that lacks what it
// needs from elsewhere ends with 77, and is skipped by its name; in CI none does.
import { spawnSync } from 'node:child_process'
import { dirname } from 'node:path'

const root = dirname(import.meta.dirname)
const node = process.execPath

const CHECKS: Readonly<Record<string, readonly string[]>> = {
  lint: ['biome', 'ci', '--colors=off', '--error-on-warnings', '.'],
  types: ['tsc', '-p', 'tsconfig.tests.json'],
  layers: [node, 'scripts/layers.ts'],
  generated: [node, 'scripts/generate.ts', '--check'],
  packages: [node, 'scripts/pack-check.ts'],
  publishing: [node, 'scripts/rehearsal/run.ts'],
}

const SKIPPED = 77

const wanted = process.argv.slice(2)
const names = wanted.length > 0 ? wanted : Object.keys(CHECKS)
let failed = 0
let skipped = 0
for (const name of names) {
  const [program, ...args] = CHECKS[name] ?? []
  if (!program) {
    console.error(`check: no "${name}"; there are: ${Object.keys(CHECKS).join(', ')}`)
    process.exit(2)
  }
  const began = Date.now()
  const done = spawnSync(program, args, { cwd: root, stdio: 'inherit' })
  const outcome = done.status === 0 ? 'ok  ' : done.status === SKIPPED ? 'skip' : 'FAIL'
  if (outcome === 'FAIL') failed++
  if (outcome === 'skip') skipped++
  console.log(`${outcome}  ${name}  ${((Date.now() - began) / 1000).toFixed(1)} s`)
}
const passed = names.length - failed - skipped
console.log(`checks: ${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
process.exit(failed === 0 ? 0 : 1)
