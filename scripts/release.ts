// A release, by hand or by .github/workflows/release.yml (CONTRIBUTING.md says how):
//   npm run release -- version    versions and changelogs from the changesets; to be committed
//   npm run release -- publish    every package whose version npm does not have yet; tags. `upload` does it without another look
import { spawnSync } from 'node:child_process'
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { programsMadeOf } from './bundled.ts'

const root = dirname(import.meta.dirname)

interface Plan {
  readonly releases: readonly { readonly name: string; readonly type: string }[]
}

/** pnpm reads no `publishConfig.provenance`. Told so, it publishes nothing where it cannot prove where it was built. */
const PROVEN = process.env.GITHUB_ACTIONS ? { PNPM_CONFIG_PROVENANCE: 'true' } : {}

/** Runs a program of the repository's, or ends this one. */
function run(program: string, ...args: string[]): void {
  const { status, error } = spawnSync(program, args, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, ...PROVEN },
  })
  if (error) console.error(`release: ${program}: ${error.message}`)
  if (status !== 0) process.exit(status ?? 1)
}

/** What changesets would release now. */
function plan(): Plan {
  const folder = mkdtempSync(join(tmpdir(), 'postern-release-'))
  try {
    run('changeset', 'status', `--output=${join(folder, 'plan.json')}`)
    return JSON.parse(readFileSync(join(folder, 'plan.json'), 'utf8')) as Plan
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Names no program in a changeset of its own: that is for what somebody notices. */
function releaseBundles(): void {
  const changed = plan().releases.filter(one => one.type !== 'none')
  const stale = programsMadeOf(changed.map(one => one.name))
  if (stale.length === 0) return
  const lines = [...stale.map(name => `"${name}": patch`), '---', '', 'Made of the current versions of our packages.']
  writeFileSync(join(root, '.changeset', 'made-of.md'), `---\n${lines.join('\n')}\n`)
  console.log(`release: ${stale.join(', ')} too, for what is bundled in there`)
}

function version(): void {
  releaseBundles()
  run('changeset', 'version')
}

function upload(): void {
  run('changeset', 'publish')
}

function publish(): void {
  const sizes = join(root, '.tools', 'sizes.md')
  run(process.execPath, join('scripts', 'pack-check.ts'), '--sizes', sizes)
  upload()
  const { GITHUB_STEP_SUMMARY: summary } = process.env
  if (summary) appendFileSync(summary, `## Sizes\n\n${readFileSync(sizes, 'utf8')}`)
}

const TASKS: Readonly<Record<string, () => void>> = { version, publish, upload }
const task = TASKS[process.argv[2] ?? '']
if (!task) {
  console.error(`release: which of ${Object.keys(TASKS).join(', ')}?`)
  process.exit(2)
}
task()
