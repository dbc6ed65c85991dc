// `npm run check -- publishing`: a release, rehearsed. In a copy of this repository versions are made from the changesets, and every
// package is published, by the commands of a real release, to a registry of this machine's own; then people install from there.
// Where verdaccio cannot be had it is skipped, with status 77; in CI that is a failure.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { publishedPackages } from '../pack-check.ts'
import { publishPlugin, writePlugin } from './author.ts'
import { copyRepository } from './copy.ts'
import { checkCommands, connectThrough, embed, installGlobally, openShop, run, same, well } from './people.ts'
import { installVerdaccio, startRegistry } from './registry.ts'

const root = dirname(dirname(import.meta.dirname))

async function timed<T>(what: string, work: () => Promise<T>): Promise<T> {
  const began = Date.now()
  const result = await work()
  console.error(`ok    ${what}  ${((Date.now() - began) / 1000).toFixed(1)} s`)
  return result
}

async function rehearse(folder: string): Promise<void> {
  const copy = join(folder, 'repository')
  const names = [...publishedPackages().keys()]
  await timed('a copy of the repository', async () => copyRepository(root, copy))
  await using registry = await timed('a registry', () => startRegistry(root, join(folder, 'registry'), names))
  const shop = openShop(join(folder, 'people'), registry.npmrc)
  await timed('versions from the changesets', async () => {
    await well(run(process.execPath, ['scripts/release.ts', 'version'], { cwd: copy }))
  })
  writeFileSync(join(copy, '.npmrc'), registry.npmrc)
  await timed('nothing is published where its provenance cannot be proved', () => publishUnproved(copy, registry.url))
  await timed(`publish ${names.length} packages`, () => publish(copy, names))
  const bins = await timed('install each program alone', async () => {
    const [client, daemon, edge] = await Promise.all(
      ['postern', '@postern/daemon', '@postern/edge'].map(name => installGlobally(shop, name)),
    )
    return { client: client!, daemon: daemon!, edge: edge! }
  })
  await timed('their commands', async () => {
    await checkCommands(shop, bins.client, ['postern'])
    await checkCommands(shop, bins.daemon, ['posternd'])
    await checkCommands(shop, bins.edge, ['postern-edge'])
  })
  await timed('a connection through all three', () =>
    connectThrough(shop, {
      postern: join(bins.client, 'postern'),
      posternd: join(bins.daemon, 'posternd'),
      edge: join(bins.edge, 'postern-edge'),
    }),
  )
  await timed('a plugin by its author', () => writePlugin(shop))
  await timed('another one: created, tested, published, added', () => publishPlugin(shop, join(bins.client, 'postern')))
  await timed('an edge in somebody’s test', () => embed(shop))
}

const UPLOAD = ['scripts/release.ts', 'upload']

/** As in GitHub's Actions, without the permission `id-token: write`. */
async function publishUnproved(copy: string, url: string): Promise<void> {
  const env = { ...process.env, CI: 'true', GITHUB_ACTIONS: 'true' }
  const { status, stdout } = await run(process.execPath, UPLOAD, { cwd: copy, env }, 300_000)
  if (status === 0 || !stdout.includes('ID_TOKEN')) throw new Error(`it was published without a proof\n${stdout}`)
  same((await fetch(`${url}@postern%2finterface`)).status, 404, 'the answer for a package that was not published')
}

async function publish(copy: string, names: readonly string[]): Promise<void> {
  await well(run(process.execPath, UPLOAD, { cwd: copy }, 300_000))
  const tags = execFileSync('git', ['-C', copy, 'tag', '--points-at', 'HEAD'], { encoding: 'utf8' }).split('\n')
  for (const name of names) {
    const folder = publishedPackages().get(name)!.folder
    const { version } = JSON.parse(readFileSync(join(copy, folder, 'package.json'), 'utf8')) as { version: string }
    same(tags.includes(`${name}@${version}`), true, `a tag for ${name}@${version}`)
  }
}

const missing = installVerdaccio(root)
if (missing !== undefined) {
  console.error(`verdaccio cannot be had here, so no release is rehearsed:\n${missing}`)
  process.exit(process.env.CI ? 1 : 77)
}
const folder = mkdtempSync(join(tmpdir(), 'postern-rehearsal-'))
try {
  await rehearse(folder)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
