// The import rule, checked: arrows go down only. Run by `npm run check`; `--show` prints the layers.
//
// A package's layer is where it may be imported from. An import that points up, sideways between plugins, or by a path out of
// its package, is an error that names file, line and rule. (That package.json lists what is imported is the linter's check.)
import { globSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'

const root = dirname(import.meta.dirname)

/** Packages from the bottom up: each may import what stands before it. */
const LAYERS: readonly (readonly string[])[] = [
  ['interface', 'yamux', 'pump'],
  ['options', 'registry', 'policy', 'tokens', 'pki', 'verify', 'tunnel', 'end-to-end'],
  ['store', 'client', 'program', 'connector', 'admin', 'compliance', 'testkit'],
]
/** What a plugin may import at run time, of ours. */
const PLUGINS_MAY = new Set(['interface', 'options', 'pump', 'tokens', 'pki', 'verify'])
/** Every place that may import a plugin, or an app: the generated lists, and the app that is all of them in one process. */
const MAY_IMPORT_PLUGINS = /^(apps\/[^/]+\/src\/builtin\.ts|apps\/dev\/|e2e\/|bench\/)/

export interface Finding {
  readonly file: string
  readonly line: number
  readonly rule: string
}

/** Every import in the tree that breaks the rule. */
export function checkLayers(folder: string): readonly Finding[] {
  const files = globSync('{packages,plugins,apps}/*/{src,test,soak}/**/*.{ts,js}', {
    cwd: folder,
    exclude: name => name.endsWith('node_modules'),
  })
  return files.flatMap(file =>
    importsOf(join(folder, file)).flatMap(one => judge(file, one).map(rule => ({ file, line: one.line, rule }))),
  )
}

interface Import {
  readonly specifier: string
  readonly line: number
}

function importsOf(file: string): Import[] {
  // Examples in doc comments import what their reader has.
  const text = readFileSync(file, 'utf8').replace(/^\s*\*.*$/gm, '')
  const found = text.matchAll(
    /\bfrom\s+['"]([^'"\n]+)['"]|\bimport\(\s*['"]([^'"\n]+)['"]|^\s*import\s+['"]([^'"\n]+)['"]/gm,
  )
  return [...found].map(match => ({
    specifier: match[1] ?? match[2] ?? match[3] ?? '',
    line: text.slice(0, match.index + match[0].length).split('\n').length,
  }))
}

function judge(file: string, { specifier }: Import): string[] {
  const [group = '', name = '', place = ''] = file.split('/')
  const target = /^@postern\/([^/]+)/.exec(specifier)?.[1]
  if (specifier.startsWith('.')) {
    const to = relative(root, join(root, dirname(file), specifier))
    const own = to.startsWith(`${group}/${name}/`) || /^vitest\.shared/.test(to)
    return own ? [] : [`${specifier} leaves the package: import it by its name`]
  }
  if (!target || target === name) return []
  const layer = LAYERS.findIndex(names => names.includes(target))
  const isPlugin = layer < 0
  const testing = place !== 'src'
  if (isPlugin)
    return MAY_IMPORT_PLUGINS.test(file) || (group === 'apps' && testing)
      ? []
      : [`${group}/${name} may not import the plugin or app ${specifier}`]
  if (group === 'plugins')
    return PLUGINS_MAY.has(target) || testing
      ? []
      : [`a plugin may import ${[...PLUGINS_MAY].join(', ')}, not ${specifier}`]
  if (group !== 'packages' || testing) return []
  const own = LAYERS.findIndex(names => names.includes(name))
  if (own < 0) return [`packages/${name} has no layer: give it one in scripts/layers.ts`]
  return layer < own || (layer === own && order(target) < order(name))
    ? []
    : [`${specifier} points up: packages/${name} stands ${layer === own ? 'before it in' : 'below'} its layer`]
}

function order(name: string): number {
  return LAYERS.flat().indexOf(name)
}

if (process.argv[1] === import.meta.filename) {
  if (process.argv.includes('--show'))
    LAYERS.forEach((names, index) => void console.log(`${index}  ${names.join('  ')}`))
  const findings = checkLayers(process.argv[2] && !process.argv[2].startsWith('-') ? process.argv[2] : root)
  for (const { file, line, rule } of findings) console.error(`${file}:${line}: ${rule}`)
  console.error(
    findings.length === 0 ? 'layers: every import points down' : `layers: ${findings.length} imports break the rule`,
  )
  process.exit(findings.length === 0 ? 0 : 1)
}
