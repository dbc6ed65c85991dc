// The last step of a program's build, run in its package: everything it runs as a few CommonJS files in dist/, because what is read
// costs time at every start and memory for as long as it runs (docs/decisions/0016-programs-are-bundled.md).
// Words: more files to start with beside main, NAME=FILE. `library` is what others import: a module in front of it, and its types.
import { globSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { type OutputChunk, type Plugin, rolldown } from 'rolldown'
import { bundleTypes } from './bundle-types.ts'

const dist = resolve('dist')
/** What needs no second look; every other warning is something that would not work at run time. EVAL: depd names functions by it. */
const HARMLESS = ['INEFFECTIVE_DYNAMIC_IMPORT', 'EVAL']

/** V8 keeps a source in one byte for each character where all are ASCII, else in two. */
const ascii: Plugin = {
  name: 'ascii',
  renderChunk: code => code.replace(/[^\x00-\x7f]/g, unit => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`),
}

const words = Object.fromEntries(process.argv.slice(2).map(word => word.split('='))) as Readonly<Record<string, string>>
const before = globSync('*.cjs', { cwd: dist })
const bundle = await rolldown({
  input: { main: join(dist, 'main.js'), ...words },
  platform: 'node',
  // Native: it comes as files of its own, for the systems that have one (an optional dependency).
  external: ['@napi-rs/keyring'],
  onLog: (_level, log) => {
    if (!HARMLESS.includes(log.code ?? '')) throw new Error(log.message)
  },
})
const { output } = await bundle.write({
  dir: dist,
  // What a command imports when it runs is a file of its own: parsing all of them would cost every start.
  format: 'cjs',
  entryFileNames: '[name].cjs',
  chunkFileNames: '[name]-[hash].cjs',
  plugins: [ascii],
  // What every command starts with is one file, in however many combinations the others use it.
  codeSplitting: { groups: [{ name: 'start', test: /packages[\\/](?:interface|options)[\\/]dist[\\/]/ }] },
  // Names and lines stay as they are, so that a stack trace says something; minifying saved nothing that could be measured.
  minify: false,
})
await bundle.close()
// Afterwards: a program that runs, or starts in this moment, finds all it was built with.
const written = new Set(output.map(({ fileName }) => fileName))
for (const old of before) if (!written.has(old)) rmSync(join(dist, old))

const chunks = output.filter((one): one is OutputChunk => one.type === 'chunk')
const declarations = words.library ? library(words.library) : []
writeFileSync(join(dist, 'THIRD-PARTY.txt'), notices([...chunks.flatMap(chunk => chunk.moduleIds), ...declarations]))

/** @returns the files its types come from */
function library(file: string): readonly string[] {
  const names = chunks.find(chunk => chunk.isEntry && chunk.name === 'library')?.exports.join(', ')
  const lines = [`import library from './library.cjs'`, '', `export const { ${names} } = library`, '']
  writeFileSync(join(dist, 'library.js'), lines.join('\n'))
  rmSync(join(dist, 'types'), { recursive: true, force: true })
  return bundleTypes(resolve(file.replace(/\.js$/, '.d.ts')), join(dist, 'types'))
}

/** The licence of every package by others whose code is in the bundle. @throws where a package names none */
function notices(modules: readonly string[]): string {
  const folders = new Set(
    modules.map(id => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(id)?.[0]).filter(one => one !== undefined),
  )
  const parts = [...folders].sort().map(folder => {
    const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
    const [file] = globSync('{LICENSE,LICENCE,License,license,licence}*', { cwd: folder })
    if (!file && !license) throw new Error(`${basename(folder)} is bundled and says nothing of its licence`)
    const text = file ? readFileSync(join(folder, file), 'utf8').trim() : 'It comes without the text of its licence.'
    return `${name} ${version} (${license})\n\n${text}\n`
  })
  return `The program in this folder contains code of these packages.\n\n${parts.join(`\n${'-'.repeat(72)}\n\n`)}`
}
