import { basename, resolve } from 'node:path'

export const KINDS = ['protocol', 'auth', 'transport'] as const
export type Kind = (typeof KINDS)[number]

export function isKind(word: string): word is Kind {
  return (KINDS as readonly string[]).includes(word)
}

/** What npm takes for the name of a new package: https://docs.npmjs.com/cli/configuring-npm/package-json#name */
const PACKAGE = /^(?:@[a-z0-9][a-z0-9._~-]*\/)?[a-z0-9][a-z0-9._~-]*$/
/** What Postern takes for the name of a plugin, and, as it is a protocol's scheme too, not longer than one. */
const PLUGIN = /^[a-z][a-z0-9-]{0,31}$/

export interface Names {
  /** As npm knows it: `@ann/postern-redis`. */
  readonly package: string
  /** As it is typed after `postern access`, `--auth` or `--transport`: `redis`. */
  readonly plugin: string
  /** Absolute. */
  readonly folder: string
}

/**
 * @param word a package's name, or the path of a new folder that is called as the package
 * @param name the plugin's, where it is not to be guessed
 * @returns the names, or what is wrong with them
 */
export function namesOf(word: string, kind: Kind, name: string | undefined, from: string): Names | string {
  const isScoped = word.startsWith('@')
  const folder = resolve(from, isScoped ? basename(word) : word)
  const packageName = isScoped ? word : basename(folder)
  if (!PACKAGE.test(packageName) || packageName.length > 214 || packageName === 'node_modules')
    return `${quoted(packageName)} is no name of a package: lower-case letters, digits, - . _ and ~, for example postern-${kind}-echo`
  const plugin = name ?? guessed(packageName, kind)
  if (PLUGIN.test(plugin)) return { package: packageName, plugin, folder }
  return `${quoted(plugin)} is no name of a plugin: lower-case letters, digits and hyphens, 32 at most, a letter first. Give another one with --name`
}

/** `@ann/postern-protocol-redis` is about redis. */
function guessed(packageName: string, kind: Kind): string {
  const short = basename(packageName).replace(/^postern-(?:plugin-)?/, '')
  return short.replace(new RegExp(`^${kind}-`), '') || short
}

function quoted(text: string): string {
  return JSON.stringify(text.slice(0, 80))
}
