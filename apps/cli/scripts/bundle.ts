// The last step of this package's build: everything `postern` runs as a few CommonJS files in dist/, because each file that
// is not read is a part of a millisecond saved at every start (docs/decisions/0016-the-client-is-bundled.md).
import { globSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { type OutputChunk, rolldown } from 'rolldown'

const folder = dirname(import.meta.dirname)
const dist = join(folder, 'dist')

const before = globSync('*.cjs', { cwd: dist })
const bundle = await rolldown({
  input: { main: join(dist, 'main.js') },
  platform: 'node',
  // Native: it comes as files of its own, for the systems that have one (an optional dependency).
  external: ['@napi-rs/keyring'],
  onLog: (_level, log) => {
    // Every other warning is something that would not work at run time.
    if (log.code !== 'INEFFECTIVE_DYNAMIC_IMPORT') throw new Error(log.message)
  },
})
const { output } = await bundle.write({
  dir: dist,
  // What a command imports when it runs is a file of its own: parsing all of them would cost every start.
  format: 'cjs',
  entryFileNames: '[name].cjs',
  chunkFileNames: '[name]-[hash].cjs',
  // What every command starts with is one file, in however many combinations the others use it.
  codeSplitting: { groups: [{ name: 'start', test: /packages[\\/](?:interface|options)[\\/]dist[\\/]/ }] },
  // Names and lines stay as they are, so that a stack trace says something; minifying saved nothing that could be measured.
  minify: false,
})
await bundle.close()
// Afterwards: a `postern` that runs, or starts in this moment, finds all it was built with.
const written = new Set(output.map(({ fileName }) => fileName))
for (const old of before) if (!written.has(old)) rmSync(join(dist, old))

const chunks = output.filter((one): one is OutputChunk => one.type === 'chunk')
writeFileSync(join(dist, 'THIRD-PARTY.txt'), notices(chunks.flatMap(chunk => chunk.moduleIds)))

/** The licence of every package by others whose code is in the bundle. @throws where a package has none to show */
function notices(modules: readonly string[]): string {
  const folders = new Set(
    modules.map(id => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(id)?.[0]).filter(one => one !== undefined),
  )
  const parts = [...folders].sort().map(folder => {
    const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
    const [file] = globSync('{LICENSE,LICENCE,license,licence}*', { cwd: folder })
    if (!file) throw new Error(`${basename(folder)} is bundled and has no licence file`)
    return `${name} ${version} (${license})\n\n${readFileSync(join(folder, file), 'utf8').trim()}\n`
  })
  return `The program in this folder contains code of these packages.\n\n${parts.join(`\n${'-'.repeat(72)}\n\n`)}`
}
