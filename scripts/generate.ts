// Writes everything that has its source somewhere else: `npm run generate`. With --check it writes nothing and fails on a difference.
//
//   docs/errors.md                 from the error catalogue
//   plugins/*/package.json         the option names of each side, from the built modules
//   apps/*/src/builtin.ts          from the manifests of the plugins that the app depends on
//   */*/package.json               of what is published: where its source is, and that npm shows who built it
//   README.md                      the table of packages, between its markers
//   docs/*.md                      the line of each link such as (../apps/edge/src/edge.ts#L12 "the text of that line");
//                                  a number that is late is no difference, a text that is gone is
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

type Side = 'client' | 'edge' | 'origin'
interface Entry {
  readonly kind: 'auth' | 'transport' | 'protocol'
  readonly name: string
  readonly options?: Partial<Record<Side, readonly string[]>>
  readonly client?: string
  readonly edge?: string
  readonly origin?: string
}
interface Package {
  readonly name: string
  readonly description?: string
  readonly private?: boolean
  readonly exports?: Readonly<Record<string, string | { readonly default?: string }>>
  readonly dependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
  readonly publishConfig?: Readonly<Record<string, unknown>>
  readonly repository?: { readonly type: string; readonly url: string }
  readonly postern?: { readonly api: number; readonly plugins: readonly Entry[] }
}
interface Facts {
  readonly exit: number
  readonly status?: number
  readonly title: string
  readonly next: string
}

const SIDES: readonly Side[] = ['client', 'edge', 'origin']
/** Which sides of a plugin an app runs. */
const APPS: Readonly<Record<string, (kind: Entry['kind']) => readonly Side[]>> = {
  cli: () => ['client'],
  daemon: kind => (kind === 'protocol' ? ['origin'] : ['client']),
  edge: () => ['edge'],
}
const root = dirname(dirname(fileURLToPath(import.meta.url)))
const isCheck = process.argv.includes('--check')
const stale: string[] = []
const problems: string[] = []

for (const folder of foldersIn('plugins')) await generateOptions(folder)
for (const folder of ['apps', 'packages', 'plugins'].flatMap(foldersIn)) generatePublishing(folder)
for (const app of Object.keys(APPS)) if (existsSync(join(root, 'apps', app, 'package.json'))) generateBuiltins(app)
await generateErrors()
generateReadme()
for (const name of readdirSync(join(root, 'docs'))) if (name.endsWith('.md')) generateLinks(`docs/${name}`)
finish()

function finish() {
  for (const line of problems) console.error(`generate: ${line}`)
  if (isCheck && stale.length > 0)
    console.error(`generate: not up to date: ${stale.join(', ')}; run \`npm run generate\``)
  else for (const file of stale) console.log(`generate: wrote ${file}`)
  if (problems.length > 0 || (isCheck && stale.length > 0)) process.exitCode = 1
}

/** The names that a manifest lists are those that the built modules declare. */
async function generateOptions(folder: string) {
  const file = join(root, folder, 'package.json')
  const manifest = readPackage(folder)
  if (!manifest.postern) return void problems.push(`${folder}/package.json has no "postern"`)
  const plugins: Entry[] = []
  for (const entry of manifest.postern.plugins) {
    const options: Partial<Record<Side, readonly string[]>> = {}
    for (const side of SIDES) {
      const path = entry[side]
      if (path === undefined) continue
      const names = await optionsOf(join(folder, path), entry.options?.[side] ?? [])
      if (names.length > 0) options[side] = names
    }
    plugins.push(withOptions(entry, options))
  }
  write(file, `${JSON.stringify({ ...manifest, postern: { ...manifest.postern, plugins } }, null, 2)}\n`)
}

/** The list in front of the modules, where a reader looks for it; none where there are no options. */
function withOptions(entry: Entry, options: Entry['options'] & object): Entry {
  const pairs = Object.entries(entry).filter(([key]) => key !== 'options')
  const modules = pairs.filter(([key]) => SIDES.includes(key as Side))
  const words = pairs.filter(pair => !modules.includes(pair))
  const listed = Object.keys(options).length > 0 ? [['options', options]] : []
  return Object.fromEntries([...words, ...listed, ...modules]) as unknown as Entry
}

async function optionsOf(path: string, listed: readonly string[]): Promise<readonly string[]> {
  const file = join(root, path)
  if (!existsSync(file)) {
    problems.push(`${path} is not built, so its options are left as they are`)
    return listed
  }
  const { default: plugin } = (await import(pathToFileURL(file).href)) as { default?: { options?: object } }
  if (plugin?.options) return Object.keys(plugin.options)
  problems.push(`${path} exports no plugin by default`)
  return listed
}

/** npm refuses a provenance that names another repository than package.json does: it stands once, in the root's. */
function generatePublishing(folder: string) {
  const {
    homepage: _,
    bugs: __,
    repository: ___,
    publishConfig,
    ...manifest
  } = readPackage(folder) as Package & {
    readonly homepage?: string
    readonly bugs?: string
  }
  if (manifest.private) return
  const { repository } = readPackage('.')
  if (!repository) return void problems.push('package.json has no "repository"')
  const page = repository.url.replace(/^git\+|\.git$/g, '')
  const fields = {
    homepage: `${page}/tree/main/${folder}#readme`,
    bugs: `${page}/issues`,
    repository: { ...repository, directory: folder },
    publishConfig: { ...publishConfig, access: 'public', provenance: true },
  }
  const pairs = Object.entries(manifest)
  const at = pairs.findIndex(([key]) => key === 'license') + 1
  const ordered = Object.fromEntries([...pairs.slice(0, at), ...Object.entries(fields), ...pairs.slice(at)])
  write(join(root, folder, 'package.json'), `${JSON.stringify(ordered, null, 2)}\n`)
}

/** What an app brings itself is what it depends on: no second list. */
function generateBuiltins(app: string) {
  const { dependencies, devDependencies } = readPackage(join('apps', app)) // what is bundled is one of the latter
  const known = { ...dependencies, ...devDependencies }
  const items: string[] = []
  for (const folder of foldersIn('plugins')) {
    const plugin = readPackage(folder)
    for (const entry of plugin.postern?.plugins ?? []) {
      const sides = APPS[app]!(entry.kind).filter(side => entry[side] !== undefined)
      if (sides.length === 0) continue
      if (!Object.hasOwn(known, plugin.name)) {
        console.error(
          `generate: apps/${app} does not depend on ${plugin.name}, so ${entry.kind} ${entry.name} is not built in there`,
        )
        continue
      }
      const load = sides.map(side => `${side}: () => import('${exportOf(plugin, entry[side]!)}')`)
      items.push(`{ package: '${plugin.name}', entry: ${JSON.stringify(entry)}, load: { ${load.join(', ')} } },`)
    }
  }
  const source = `// Generated by \`npm run generate\` from the plugins among this package's dependencies. Do not edit.
import type { Builtin } from '@postern/registry'

/** The plugins that come with this program, known by their manifests; a module is imported when a run wants it. */
export const builtins: readonly Builtin[] = [
${items.join('\n')}
]
`
  write(join(root, 'apps', app, 'src', 'builtin.ts'), source)
}

/** The name that other packages import a module by. */
function exportOf({ name, exports = {} }: Package, path: string): string {
  const found = Object.entries(exports).find(([, to]) => (typeof to === 'string' ? to : to.default) === path)
  if (!found) problems.push(`${name} does not export ${path}, which its manifest names`)
  return join(name, found?.[0] ?? path)
}

async function generateErrors() {
  const source = join(root, 'packages', 'interface', 'dist', 'codes.js')
  if (!existsSync(source)) return void problems.push('packages/interface is not built')
  const { CODES } = (await import(pathToFileURL(source).href)) as { CODES: Readonly<Record<string, Facts>> }
  const groups: readonly (readonly [string, number, number])[] = [
    ['This machine', 1, 9],
    ['Who you are', 10, 19],
    ['The edge', 20, 29],
    ['Behind the edge', 30, 39],
    ['A connection that was open', 40, 49],
    ['Plugins as they are installed', 50, 59],
    ['Plugins', 60, 69],
    ['The edge’s own state', 70, 79],
  ]
  const outside = Object.entries(CODES).filter(
    ([, { exit }]) => !groups.some(([, from, to]) => exit >= from && exit <= to),
  )
  for (const [code, { exit }] of outside) problems.push(`${code} has the exit code ${exit}, which is in no group`)
  const sections = groups.map(([title, from, to]) => {
    const rows = Object.entries(CODES)
      .filter(([, { exit }]) => exit >= from && exit <= to)
      .map(
        ([code, facts]) =>
          `| \`${code}\` | ${facts.exit} | ${facts.status ?? ''} | ${cell(facts.title)} | ${cell(facts.next)} |`,
      )
    return `## ${title}\n\n| code | exit | HTTP | what happened | what to do |\n|---|---|---|---|---|\n${rows.join('\n')}\n`
  })
  const head = `# Errors

<!-- Generated by \`npm run generate\` from packages/interface/src/codes.ts. Do not edit. -->

Every failure has one of these codes. It is the \`code\` of a \`PosternError\`, of the line that \`--json\` prints and of the problem
document (RFC 9457) that an edge answers with. A program that ends because of it exits with the status in the second column; the
third is the HTTP status where the edge is the one who says it. Codes and exit statuses are never renumbered. 0 is success, and a
program ended by a signal exits with 128 + its number, as shells report it.
`
  write(join(root, 'docs', 'errors.md'), [head, ...sections].join('\n'))
}

function generateReadme() {
  const file = join(root, 'README.md')
  if (!existsSync(file)) return
  const text = readFileSync(file, 'utf8')
  const block = /(<!-- generated:packages -->\n)[\s\S]*?(<!-- \/generated -->)/
  if (!block.test(text)) return void problems.push('README.md has no <!-- generated:packages --> … <!-- /generated -->')
  const rows = ['apps', 'packages', 'plugins'].flatMap(foldersIn).map(folder => {
    const { name, description = '', private: isPrivate } = readPackage(folder)
    if (description === '') problems.push(`${folder}/package.json has no description`)
    return `| [\`${name}\`](${folder}) | ${cell(description)}${isPrivate ? ' (not published)' : ''} |`
  })
  write(
    file,
    text.replace(block, (_, open, close) => `${open}| package | what it is |\n|---|---|\n${rows.join('\n')}\n${close}`),
  )
}

/** Code moves; a link that says which text it means moves with it. One whose text is gone is a problem. */
function generateLinks(file: string) {
  const text = readFileSync(join(root, file), 'utf8')
  const moved = text.replace(
    /\]\((\.\.\/[^)#\s]+)#L(\d+) (["'])(.*?)\3\)/g,
    (link, path: string, line: string, quote: string, meant: string) => {
      const target = join(root, 'docs', path)
      const lines = existsSync(target) ? readFileSync(target, 'utf8').split('\n') : []
      const found = lines.flatMap((one, at) => (one.includes(meant) ? [at + 1] : []))
      if (found.length === 0) problems.push(`${file}: ${path} has no line with ${quote}${meant}${quote}`)
      const nearest = found.toSorted((a, b) => Math.abs(a - Number(line)) - Math.abs(b - Number(line)))[0]
      return nearest === undefined ? link : `](${path}#L${nearest} ${quote}${meant}${quote})`
    },
  )
  if (!isCheck) write(join(root, file), moved)
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|')
}

function foldersIn(group: string): string[] {
  if (!existsSync(join(root, group))) return []
  const names = readdirSync(join(root, group)).sort()
  return names.map(name => `${group}/${name}`).filter(folder => existsSync(join(root, folder, 'package.json')))
}

function readPackage(folder: string): Package {
  return JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')) as Package
}

function write(file: string, text: string) {
  const name = relative(root, file)
  const wanted = format(name, text)
  if (existsSync(file) && readFileSync(file, 'utf8') === wanted) return
  stale.push(name)
  if (!isCheck) writeFileSync(file, wanted)
}

/** As biome wants it, so that lint and generate never disagree. */
function format(name: string, text: string): string {
  const biome = join(root, 'node_modules', '.bin', process.platform === 'win32' ? 'biome.cmd' : 'biome')
  const done = spawnSync(biome, ['format', `--stdin-file-path=${name}`], {
    cwd: root,
    input: text,
    encoding: 'utf8',
    shell: process.platform === 'win32',
  })
  if (done.status === 0) return done.stdout
  problems.push(`biome cannot format ${name}: ${done.stderr}`)
  return text
}
