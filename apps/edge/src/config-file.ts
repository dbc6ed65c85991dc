import { dirname } from 'node:path'
import { type Json, PosternError } from '@postern/interface'
import type { ConfigSection } from '@postern/options'
import { type ConfigFile, readConfigFile } from '@postern/program'

/** What a config file says: the flags of `postern-edge run` by their names in camelCase, and what stands below `options`. */
export interface EdgeFile {
  readonly folder: string
  /** For the edge's own options. `plugins` is `plugin` there. */
  readonly own: ConfigSection
  /** For plugins, by the name of each. */
  readonly plugins: ReadonlyMap<string, ConfigSection>
}

/** Options of the command that are no settings. */
const NOT_HERE = ['plugin', 'config', 'json', 'help']

/** @throws PosternError FILE_UNREADABLE, FILE_UNSAFE, CONFIG_INVALID */
export async function readEdgeFile(path: string): Promise<EdgeFile> {
  const file = await readConfigFile(path)
  const { plugins, options = {}, ...own } = members(file, file.value, [])
  const stray = NOT_HERE.find(key => key in own)
  if (stray !== undefined) {
    const next = stray === 'plugin' ? { next: 'Did you mean plugins?' } : {}
    throw new PosternError('CONFIG_INVALID', `${file.where([stray])}: there is no key "${stray}" here`, next)
  }
  const keyOf = (name: string) => (name === 'plugin' ? 'plugins' : name)
  const sections = Object.entries(members(file, options, ['options'])).map(
    ([name, section]): [string, ConfigSection] => {
      const at = ['options', name]
      const label = (key: string) => `${file.where([...at, key])}: ${key}`
      return [name, { path: file.path, values: members(file, section, at), label }]
    },
  )
  return {
    folder: dirname(file.path),
    own: {
      path: file.path,
      values: { ...own, ...(plugins !== undefined && { plugin: plugins }) },
      label: name => `${file.where([keyOf(name)])}: ${keyOf(name)}`,
    },
    plugins: new Map(sections),
  }
}

function members(file: ConfigFile, value: Json, at: readonly string[]): { readonly [key: string]: Json } {
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as { readonly [key: string]: Json }
  throw new PosternError(
    'CONFIG_INVALID',
    `${file.where(at)}: ${at.at(-1) ?? 'this'} is no list of \`key: value\` lines`,
  )
}
