// Packs every package that is published and looks at the tarball as a stranger gets it: publint, the types of each export
// (are the types wrong?), then the tarball installed in an empty folder, where every export is imported.
// `node scripts/pack-check.ts [name …]` checks some only.
import { execFileSync, spawnSync } from 'node:child_process'
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'

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

function checkOne(name: string, tarballs: ReadonlyMap<string, string>, scratch: string): string[] {
  const manifest = publishedPackages().get(name)?.manifest
  const tarball = tarballs.get(name) ?? ''
  const wrong: string[] = []
  const step = (what: string, command: string, args: readonly string[], cwd: string) => {
    const done = spawnSync(command, [...args], { cwd, encoding: 'utf8', timeout: 120_000 })
    if (done.status !== 0)
      wrong.push(`${name}: ${what}\n${`${done.stdout ?? ''}${done.stderr ?? ''}${done.error?.message ?? ''}`.trim()}`)
  }
  step('publint', 'publint', [tarball, '--strict', '--pack', 'npm'], root)
  const isModule = (entry: string) => !/\.(json|proto)$/.test(entry)
  const entries = Object.keys(manifest?.exports ?? {}).filter(isModule)
  const others = Object.keys(manifest?.exports ?? {}).filter(entry => !isModule(entry))
  if (manifest?.exports)
    step(
      'types',
      'attw',
      [
        tarball,
        '--profile',
        'esm-only',
        '--format',
        'ascii',
        '--quiet',
        ...(others.length > 0 ? ['--exclude-entrypoints', ...others] : []),
      ],
      root,
    )
  const folder = join(scratch, name.replace('/', '-'))
  try {
    installAlone(folder, [name], tarballs)
  } catch (error) {
    return [...wrong, `${name}: npm install of the tarball\n${error instanceof Error ? error.message : error}`]
  }
  const script = entries.map(entry => `await import(${JSON.stringify(name + entry.slice(1))});`).join('\n')
  step('import every export', process.execPath, ['--input-type=module', '-e', script], folder)
  for (const program of Object.keys(manifest?.bin ?? {}))
    step(`${program} --help`, process.execPath, [join('node_modules', '.bin', program), '--help'], folder)
  rmSync(folder, { recursive: true, force: true })
  return wrong
}

if (process.argv[1] === import.meta.filename) {
  const scratch = mkdtempSync(join(tmpdir(), 'postern-pack-'))
  try {
    const tarballs = pack(publishedPackages().keys(), scratch)
    const names = process.argv.length > 2 ? process.argv.slice(2) : [...tarballs.keys()]
    const wrong = names.flatMap(name => {
      const began = Date.now()
      const found = checkOne(name, tarballs, scratch)
      console.error(`${found.length === 0 ? 'ok  ' : 'FAIL'}  ${name}  ${((Date.now() - began) / 1000).toFixed(1)} s`)
      for (const one of found) console.error(one)
      return found
    })
    console.error(`pack-check: ${names.length} packages, ${wrong.length} findings`)
    process.exitCode = wrong.length === 0 ? 0 : 1
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}
