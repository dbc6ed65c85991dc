import { realpath } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { readHostname } from '@postern/client/hostname'
import { type Json, PosternError } from '@postern/interface'
import { type ConfigSection, camel, nearest } from '@postern/options'
import { type ConfigFile, type Program, readConfigFile, userFolder } from '@postern/program'
import type { Registry } from '@postern/registry'
import { APPLICATION_FLAGS, withoutFile } from './flags.ts'

/** The user's own settings, so that `postern access ssh --hostname %h` needs no flags. */
export interface Config {
  /** Packages, or paths relative to `folder`. */
  readonly plugins: readonly string[]
  readonly folder: string
  /** What the file says for one application. @throws PosternError CONFIG_INVALID: an unknown key, with the nearest one */
  section(hostname: string, registry: Registry): ConfigSection
}

type Members = Readonly<Record<string, Json>>

const OWN = Object.keys(APPLICATION_FLAGS)
const TOP = [...OWN, 'plugins', 'applications']

/**
 * Reads `config.yaml` in the user's folder, or the file that was named. Without one of its own a run has no config; nothing is
 * searched, and nothing but a file system look-up is spent on it. The file may be a symbolic link, as dotfile managers make
 * them; what it leads to must be as safe as {@link readConfigFile} wants it.
 *
 * @throws PosternError FILE_UNREADABLE, FILE_UNSAFE, CONFIG_INVALID
 */
export async function readConfig(
  named: string | undefined,
  { env }: Pick<Program, 'env'>,
): Promise<Config | undefined> {
  const path = named ?? join(userFolder(env), 'config.yaml')
  const target = await realpath(path).catch((error: NodeJS.ErrnoException) => {
    const absent = error.code === 'ENOENT' || error.code === 'ENOTDIR'
    return named === undefined && absent ? undefined : path
  })
  if (target === undefined) return undefined
  const file = await readConfigFile(target)
  const top = members(file, file.value, [])
  refuseUnknown(file, Object.keys(top), TOP, [])
  const applications = readApplications(file, members(file, top.applications ?? null, ['applications']))
  const shared = Object.fromEntries(Object.entries(top).filter(([key]) => OWN.includes(key)))
  return {
    plugins: readPlugins(file, top.plugins ?? []),
    folder: dirname(path),
    section(hostname, registry) {
      for (const { at, values } of applications.values())
        refuseUnknown(file, Object.keys(values), optionsOf(registry, Object.keys(values)), at)
      const name = readHostname(hostname).hostname
      const own = applications.get(name)
      const values: Members = { ...shared, ...own?.values }
      const label = (key: string) =>
        key in values
          ? `${file.where([...(own && key in own.values ? own.at : []), key])}: ${key}`
          : `${key} below ${name} in ${path}`
      return { path, values, label, otherKeys: Object.keys(values) } // each was checked above
    },
  }
}

interface Section {
  readonly at: readonly string[]
  readonly values: Members
}

/** By hostname. A credential stands below its application and nowhere else, so that it is sent to nobody else. */
function readApplications(file: ConfigFile, applications: Members): ReadonlyMap<string, Section> {
  const sections = new Map<string, Section>()
  for (const [key, value] of Object.entries(applications)) {
    const at = ['applications', key]
    const { hostname, port } = readKey(file, key, at)
    if (port !== undefined)
      throw invalid(
        file,
        at,
        `${JSON.stringify(key)} is not a hostname alone`,
        `Write \`edge: https://${key}\` below it.`,
      )
    if (sections.has(hostname)) throw invalid(file, at, `${hostname} is there twice`)
    sections.set(hostname, { at, values: members(file, value, at) })
  }
  return sections
}

function readKey(file: ConfigFile, key: string, at: readonly string[]): ReturnType<typeof readHostname> {
  try {
    return readHostname(key)
  } catch (cause) {
    const { message, next } = PosternError.from(cause)
    throw invalid(file, at, message, next)
  }
}

function readPlugins(file: ConfigFile, value: Json): readonly string[] {
  const list = Array.isArray(value) ? value : [value]
  return list.map((one, at) => {
    if (typeof one === 'string' && one !== '') return one
    throw invalid(file, ['plugins', at], 'a plugin is the name of a package, or a path beginning with ./ or /')
  })
}

/** Nothing (`applications:` and no more) is no members. */
function members(file: ConfigFile, value: Json, at: readonly string[]): Members {
  if (value === null) return {}
  if (typeof value === 'object' && !Array.isArray(value)) return value as Members
  throw invalid(file, at, `${at.at(-1) ?? 'a config file'} is not a list of \`key: value\` lines`)
}

/** Own options, and of the given keys those that some plugin declares: which plugins are used is not known yet. */
function optionsOf(registry: Registry, keys: readonly string[]): readonly string[] {
  const declared = (['auth', 'transport', 'protocol'] as const).flatMap(kind =>
    registry.names(kind, 'client').flatMap(name => registry.find(kind, name)?.entry.options?.client ?? []),
  )
  return [...OWN, ...declared, ...keys.filter(key => key.endsWith('File') && declared.includes(withoutFile(key)))]
}

function refuseUnknown(
  file: ConfigFile,
  keys: readonly string[],
  allowed: readonly string[],
  at: readonly string[],
): void {
  const unknown = keys.find(key => !allowed.includes(key))
  if (unknown === undefined) return
  const { why, next } = aboutUnknown(unknown, allowed)
  throw invalid(file, [...at, unknown], why, next)
}

/** What is said of a key that is none, with the one that was probably meant. */
export function aboutUnknown(
  unknown: string,
  allowed: readonly string[],
): { readonly why: string; readonly next: string } {
  const secret = /file$/i.test(unknown) ? nearest(unknown.slice(0, -'file'.length), allowed) : undefined
  const meant = allowed.find(key => key === camel(unknown)) ?? nearest(unknown, allowed) ?? (secret && `${secret}File`)
  // What does not look like a key may be a secret whose colon was forgotten: it is not repeated.
  const told = /^[a-z_-]{1,24}$/i.test(unknown) ? `key ${JSON.stringify(unknown)}` : 'such key'
  return {
    why: `there is no ${told} here`,
    next: meant ? `Did you mean ${meant}?` : `There are: ${allowed.join(', ')}.`,
  }
}

function invalid(file: ConfigFile, at: readonly (string | number)[], why: string, next?: string): PosternError {
  return new PosternError('CONFIG_INVALID', `${file.where(at)}: ${why}`, next === undefined ? {} : { next })
}
