// Packs every package that is published and looks at the tarball as a stranger gets it: its files, publint, the types of each export
// (are the types wrong?), then the tarball installed in an empty folder, where every export is imported. Together in one folder: the
// examples of the READMEs, and the types without `skipLibCheck`. Ends with a table of sizes.
// `node scripts/pack-check.ts [name …]` checks some only. `--sizes FILE` writes the table, into the place for it where there is one.
import { execFile, execFileSync } from 'node:child_process'
import { existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { parseArgs, promisify } from 'node:util'
import {
  installedTwice,
  judgeContents,
  lint,
  removeOrphans,
  type Size,
  sizeOf,
  sizeTable,
  type Unpacked,
  unpack,
} from './pack-contents.ts'
import { checkReadmes } from './readme-check.ts'

const root = dirname(import.meta.dirname)

export interface PackageFile {
  readonly name: string
  readonly version: string
  readonly private?: boolean
  readonly exports?: Readonly<Record<string, unknown>>
  readonly bin?: Readonly<Record<string, string>>
  readonly dependencies?: Readonly<Record<string, string>>
}

/** Every package npm gets, by name, with its folder. */
export function publishedPackages(): ReadonlyMap<string, { readonly folder: string; readonly manifest: PackageFile }> {
  const all = globSync('{packages,plugins,apps}/*/package.json', { cwd: root }).map(file => ({
    folder: dirname(file),
    manifest: JSON.parse(readFileSync(join(root, file), 'utf8')) as PackageFile,
  }))
  return new Map(all.filter(one => !one.manifest.private).map(one => [one.manifest.name, one]))
}

/** Packs packages into a folder. @returns name → tarball */
export function pack(names: Iterable<string>, into: string): ReadonlyMap<string, string> {
  const packages = publishedPackages()
  return new Map(
    [...names].map(name => {
      const folder = packages.get(name)?.folder
      if (!folder) throw new Error(`${name} is not a published package`)
      removeOrphans(join(root, folder))
      const printed = execFileSync('pnpm', ['pack', '--pack-destination', into], {
        cwd: join(root, folder),
        encoding: 'utf8',
      })
      const tarball =
        printed
          .trim()
          .split('\n')
          .findLast(line => line.endsWith('.tgz')) ?? ''
      return [name, join(into, basename(tarball))]
    }),
  )
}

/** Installs packages from tarballs into a new empty folder, as a user would: nothing of the workspace is seen. */
export function installAlone(folder: string, names: readonly string[], tarballs: ReadonlyMap<string, string>): void {
  const of = (name: string) => `file:${tarballs.get(name)}`
  mkdirSync(folder, { recursive: true })
  const overrides = Object.fromEntries(
    [...tarballs.keys()].filter(name => !names.includes(name)).map(name => [name, of(name)]),
  )
  writeFileSync(
    join(folder, 'package.json'),
    JSON.stringify({
      name: 'empty',
      private: true,
      type: 'module',
      dependencies: Object.fromEntries(names.map(name => [name, of(name)])),
      overrides,
    }),
  )
  execFileSync(
    'npm',
    [
      'install',
      '--ignore-scripts',
      '--no-audit',
      '--no-fund',
      '--no-package-lock',
      '--loglevel=error',
      '--prefer-offline',
    ],
    { cwd: folder, stdio: 'pipe', timeout: 180_000 },
  )
}

/** What is to be looked at, and where. */
interface Scratch {
  readonly folder: string
  readonly tarballs: ReadonlyMap<string, string>
  readonly unpacked: ReadonlyMap<string, Unpacked>
}

interface Found {
  readonly wrong: string[]
  readonly size?: Size
}

const isModule = (entry: string) => !/\.(json|proto)$/.test(entry)

/** Paths that are imported: `@postern/pki/leaf`. */
function modulesOf({ manifest }: Unpacked): string[] {
  const entries = Object.keys(manifest.exports ?? {}).filter(isModule)
  return entries.map(entry => manifest.name + entry.slice(1))
}

function programsOf({ manifest: { name, bin = {} } }: Unpacked): string[] {
  return typeof bin === 'string' ? [name.replace(/^.*\//, '')] : Object.keys(bin)
}

/** What is wrong, if anything: a command and its answer. */
async function step(what: string, command: string, args: readonly string[], cwd: string): Promise<string[]> {
  try {
    await promisify(execFile)(command, args, { cwd, timeout: 120_000, maxBuffer: 2 ** 24 })
    return []
  } catch (error) {
    const {
      stdout = '',
      stderr = '',
      message,
    } = error as Error & { readonly stdout?: string; readonly stderr?: string }
    return [`${what}\n${`${stdout}${stderr}`.trim() || message}`]
  }
}

async function checkTypes(one: Unpacked, tarball: string): Promise<string[]> {
  if (modulesOf(one).length === 0) return []
  const others = Object.keys(one.manifest.exports ?? {}).filter(entry => !isModule(entry))
  const exclude = others.length > 0 ? ['--exclude-entrypoints', ...others] : []
  // `require` gets these modules too, from every Node that they run on: what is no CommonJS is no fault.
  return step('types', 'attw', [tarball, '--profile', 'esm-only', '--format', 'ascii', '--quiet', ...exclude], root)
}

async function checkOne(name: string, { folder, tarballs, unpacked }: Scratch): Promise<Found> {
  const tarball = tarballs.get(name)!
  const one = unpacked.get(name)!
  const source = publishedPackages().get(name)!.folder
  const wrong = [
    ...judgeContents(one, join(root, source), source),
    ...(await lint(one, tarball)),
    ...(await checkTypes(one, tarball)),
  ]
  const alone = join(folder, name.replace('/', '-'))
  try {
    installAlone(alone, [name], tarballs)
  } catch (error) {
    return { wrong: [...wrong, `npm install of the tarball\n${error instanceof Error ? error.message : error}`] }
  }
  const script = modulesOf(one).map(path => `await import(${JSON.stringify(path)});`)
  const node = (what: string, ...args: string[]) => step(what, process.execPath, args, alone)
  wrong.push(...(await node('import every export', '--input-type=module', '-e', script.join('\n'))))
  for (const program of programsOf(one))
    wrong.push(...(await node(`${program} --help`, join('node_modules', '.bin', program), '--help')))
  wrong.push(...installedTwice(one, alone))
  const size = sizeOf(name, tarball, one, alone)
  rmSync(alone, { recursive: true, force: true })
  return { wrong, size }
}

/** All of them in one folder: what their READMEs show, and their types as a strict program reads them. */
async function checkTogether(names: readonly string[], { folder, tarballs, unpacked }: Scratch): Promise<string[]> {
  const together = join(folder, 'together')
  installAlone(together, [...tarballs.keys()], tarballs)
  symlinkSync(join(root, 'node_modules', '@types'), join(together, 'node_modules', '@types'))
  const chosen = names.map(name => unpacked.get(name)!)
  const lines = chosen.flatMap(modulesOf).map((path, at) => `export * as m${at} from '${path}'`)
  writeFileSync(join(together, 'every-export.ts'), `${lines.join('\n')}\n`)
  const options = ['--noEmit', '--strict', '--skipLibCheck', 'false', '--target', 'es2024', '--types', 'node']
  const wrong: string[] = []
  for (const [resolution, module] of Object.entries({ nodenext: 'nodenext', bundler: 'esnext' })) {
    const args = [...options, '--module', module, '--moduleResolution', resolution, 'every-export.ts']
    wrong.push(...(await step(`every export’s types, resolved as ${resolution}`, 'tsc', args, together)))
  }
  const documented = chosen.map(one => ({
    name: one.manifest.name,
    readme: join(one.folder, 'README.md'),
    programs: programsOf(one),
    exports: modulesOf(one),
  }))
  return [...wrong, ...(await checkReadmes(documented, together))]
}

async function checkAll(folder: string): Promise<string[]> {
  const { values, positionals } = parseArgs({ options: { sizes: { type: 'string' } }, allowPositionals: true })
  const tarballs = pack(publishedPackages().keys(), folder)
  const unpacked = new Map([...tarballs].map(([name, file]) => [name, unpack(file, join(folder, 'unpacked', name))]))
  const scratch = { folder, tarballs, unpacked }
  const names = positionals.length > 0 ? positionals : [...tarballs.keys()]
  const unknown = names.filter(name => !tarballs.has(name))
  if (unknown.length > 0) throw new Error(`not published: ${unknown.join(', ')}`)
  const sizes: Size[] = []
  const wrong: string[] = []
  const tell = (what: string, began: number, found: readonly string[]) => {
    console.error(`${found.length === 0 ? 'ok  ' : 'FAIL'}  ${what}  ${((Date.now() - began) / 1000).toFixed(1)} s`)
    for (const one of found) console.error(one)
    wrong.push(...found)
  }
  await eachOf(names, async name => {
    const began = Date.now()
    const { wrong: found, size } = await checkOne(name, scratch)
    if (size) sizes.push(size)
    tell(name, began, found)
  })
  const began = Date.now()
  tell('together: examples and types', began, await checkTogether(names, scratch))
  const table = sizeTable(sizes.sort((a, b) => (a.name < b.name ? -1 : 1)))
  console.error(table)
  if (values.sizes) writeSizes(values.sizes, table)
  console.error(`pack-check: ${names.length} packages, ${wrong.length} findings`)
  return wrong
}

function writeSizes(file: string, table: string): void {
  const place = /(?<=<!-- sizes -->\n)[\s\S]*?(?=<!-- \/sizes -->)/
  const text = existsSync(file) ? readFileSync(file, 'utf8') : ''
  writeFileSync(file, place.test(text) ? text.replace(place, `${table}\n`) : `${table}\n`)
}

/** A few at once. */
async function eachOf(names: readonly string[], work: (name: string) => Promise<void>): Promise<void> {
  const waiting = [...names]
  const worker = async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) await work(name)
  }
  await Promise.all(Array.from({ length: availableParallelism() }, worker))
}

if (process.argv[1] === import.meta.filename) {
  const scratch = mkdtempSync(join(tmpdir(), 'postern-pack-'))
  try {
    process.exitCode = (await checkAll(scratch)).length === 0 ? 0 : 1
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}
