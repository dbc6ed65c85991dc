// The types of a library that is bundled, and those of every package they name, copied beside it: what is in the bundle is then
// nowhere installed a second time for its declarations alone.
import { existsSync, mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { dirname, join, relative, sep } from 'node:path'

/** Where another file is named, and not in a comment's example. */
const NAMED = /^(?!\s*(?:\*|\/\/)).*$/gm
const SPECIFIER = /(\bfrom\s*|\bimport\s*\(\s*|^\s*import\s+)(["'])([^"'\n]+)\2/g
const ENDINGS: readonly (readonly [end: RegExp, declared: string])[] = [
  [/(?:\.d)?\.mts$|\.mjs$/, '.d.mts'],
  [/(?:\.d)?\.cts$|\.cjs$/, '.d.cts'],
  [/(?:\.d)?\.ts$|\.js$|$/, '.d.ts'],
]

/**
 * @param entry a declaration file
 * @param into a folder, which gets one folder for each package, as `@postern/store/dist/index.d.ts`
 * @returns the files that were copied
 * @throws where a name leads nowhere
 */
export function bundleTypes(entry: string, into: string): readonly string[] {
  const places = new Map<string, string>()
  copy(realpathSync(entry))
  return [...places.keys()]

  function copy(file: string): string {
    const known = places.get(file)
    if (known !== undefined) return known
    const { name, folder } = packageOf(file)
    const place = join(into, name, relative(folder, file))
    places.set(file, place)
    const named = (specifier: string) => {
      const target = declarationOf(specifier, file)
      return target === undefined ? specifier : asImported(relative(dirname(place), copy(target)))
    }
    const text = readFileSync(file, 'utf8').replace(NAMED, line =>
      line.replace(SPECIFIER, (_, before, quote, specifier) => `${before}${quote}${named(specifier)}${quote}`),
    )
    mkdirSync(dirname(place), { recursive: true })
    writeFileSync(place, text)
    return place
  }
}

function asImported(path: string): string {
  const posix = path
    .split(sep)
    .join('/')
    .replace(/\.d\.([mc]?)ts$/, '.$1js')
  return posix.startsWith('.') ? posix : `./${posix}`
}

/** The file that a name in `from` leads to; undefined for Node's own modules. */
function declarationOf(specifier: string, from: string): string | undefined {
  if (isBuiltin(specifier)) return undefined
  const path = specifier.startsWith('.') ? join(dirname(from), specifier) : exported(specifier, from)
  const [end, declared] = ENDINGS.find(([pattern]) => pattern.test(path))!
  const file = [path.replace(end, declared), join(path, 'index.d.ts')].find(existsSync)
  if (file === undefined) throw new Error(`${from}: there are no types for ${specifier}`)
  return realpathSync(file)
}

function exported(specifier: string, from: string): string {
  const [name = '', rest = ''] = /^((?:@[^/]+\/)?[^/]+)(.*)$/.exec(specifier)?.slice(1) ?? []
  const folder = above(from)
    .map(one => join(one, 'node_modules', name))
    .find(existsSync)
  if (folder === undefined) throw new Error(`${from}: ${name} is not installed`)
  const { exports, types } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const found = conditional(
    typeof exports === 'object' ? (exports[`.${rest}`] ?? (rest === '' ? exports : null)) : types,
  )
  if (found === undefined) throw new Error(`${from}: ${name} exports no types as ${specifier}`)
  return join(folder, found)
}

function conditional(target: unknown): string | undefined {
  if (typeof target === 'string') return target
  if (target === null || typeof target !== 'object') return undefined
  const conditions = target as Readonly<Record<string, unknown>>
  return ['types', 'import', 'node', 'default'].map(key => conditional(conditions[key])).find(one => one !== undefined)
}

function packageOf(file: string): { readonly name: string; readonly folder: string } {
  for (const folder of above(file)) {
    if (!existsSync(join(folder, 'package.json'))) continue
    const { name, version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
    if (name && version) return { name, folder }
  }
  throw new Error(`${file} is in no package`)
}

function above(file: string): string[] {
  const folder = dirname(file)
  return folder === file ? [] : [folder, ...above(folder)]
}
