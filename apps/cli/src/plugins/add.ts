import { copyFile, mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { type Call, PosternError } from '@postern/interface'
import { jsonLineOf, type Program, pluginPlaces, readLevel } from '@postern/program'
import {
  checkLocked,
  EXACT_VERSION,
  hashTree,
  type LockedPlugin,
  locate,
  PACKAGE_NAME,
  type PluginLock,
  readPackageFile,
} from '@postern/registry'
import { onlyWord, type Page, readCommand } from './command.ts'
import { changing, place, unwritable } from './folder.ts'
import { npm } from './npm.ts'
import { lookInto, type TarballFacts } from './tarball.ts'

const PAGE: Page = {
  usage: 'postern plugins add {NAME@VERSION | ./TARBALL.tgz} [options]',
  summary:
    'Install a plugin of exactly this version, with npm and without running any script, and record what it is: it is used only while it still is that.',
  examples: [
    'postern plugins add postern-auth-api-key@1.0.0',
    'postern plugins add ./postern-auth-api-key-1.0.0.tgz',
    'POSTERN_HOME=/etc/postern postern plugins add postern-auth-api-key@1.0.0   # for a service',
  ],
}

const FLAGS = {
  integrity: {
    type: 'string',
    summary: 'install it only if its tarball is this: sha512-…, as postern plugins list --json shows it',
  },
} as const

/** What is to be added: a package of the registry, or a tarball. */
type Wanted = { readonly name: string; readonly version: string } | { readonly tarball: string }

/** `postern plugins add`. */
export async function add(argv: readonly string[], program: Program, outer: Call): Promise<void> {
  const read = await readCommand(PAGE, FLAGS, argv, program, outer)
  if (read === undefined) return
  const wanted = readWanted(onlyWord(read.words, 'one plugin, as NAME@VERSION or ./TARBALL.tgz,'), program.cwd)
  const { integrity, logLevel } = read.values
  const signal = AbortSignal.any([program.stop.gently, outer.signal])
  const call: Call = { signal, log: program.log(readLevel(logLevel)) }
  const { pluginFolder } = pluginPlaces(program)
  const adding: Adding = { wanted, integrity, pluginFolder, env: program.env }
  const added = await changing(pluginFolder, lock => install(adding, lock, call), call)
  const { name, version, before, ...facts } = added
  if (program.json) return program.print(jsonLineOf({ name, version, before: before ?? null, ...facts }))
  const what =
    before === version ? 'is there already, as it was added' : before ? `added, instead of ${before}` : 'added'
  program.print(`${name}@${version} ${what}\n  ${facts.integrity}\nUse it: --plugin ${name}\n`)
}

/** What it depends on comes from the registry, wherever in the tree it is said otherwise. */
const HOW = ['--allow-remote=none', '--no-save', '--no-package-lock', '--no-bin-links', '--omit=dev']

interface Adding {
  readonly wanted: Wanted
  readonly integrity: string | undefined
  readonly pluginFolder: string
  readonly env: NodeJS.ProcessEnv
}

interface Added extends TarballFacts {
  /** The version that was there; the same one where nothing had to be done. */
  readonly before?: string
}

async function install(adding: Adding, lock: PluginLock, call: Call): Promise<Added> {
  const { wanted, pluginFolder, env } = adding
  const made = await mkdtemp(join(pluginFolder, '.new-')).catch(unwritable(pluginFolder))
  try {
    const label = 'tarball' in wanted ? wanted.tarball : `${wanted.name}@${wanted.version}`
    const site = join(made, 'site')
    await mkdir(site)
    // With it npm takes this folder for the project, and reads the settings of none above it.
    await writeFile(join(site, 'package.json'), '{ "private": true }\n')
    const tarball = await obtain(adding, made, site, call)
    const facts = await lookInto(tarball, label)
    refuseOther(facts, adding, label)
    const old = lockedAs(facts.name, lock)
    if (old?.version === facts.version) {
      if (old.integrity !== facts.integrity) throw anotherTarball(facts, old)
      const whole = await locate(facts.name, { from: pluginFolder, pluginFolder }).catch(() => undefined)
      if (whole !== undefined) return { ...facts, before: old.version }
    }
    await npm(['install', tarball, ...HOW], site, env, call)
    const found = await hashTree(site, { sync: true })
    if ('wrong' in found)
      throw new PosternError('PLUGIN_UNSAFE', `plugin ${label}: found ${found.wrong}; it was not added`)
    const { version, integrity } = facts
    await refuseMissing(site, facts)
    await place(pluginFolder, lock, facts.name, site, { version, integrity, tree: found.hash })
    return { ...facts, ...(old && old.version !== version && { before: old.version }) }
  } finally {
    await rm(made, { recursive: true, force: true, maxRetries: 3 })
  }
}

/** The tarball, in a folder of ours: what was looked into is what is installed. */
async function obtain({ wanted, env }: Adding, into: string, site: string, call: Call): Promise<string> {
  const path = join(into, 'plugin.tgz')
  if ('tarball' in wanted) {
    await copyFile(wanted.tarball, path).catch((cause: NodeJS.ErrnoException) => {
      throw new PosternError('FILE_UNREADABLE', `${wanted.tarball} cannot be read (${cause.code})`, { cause })
    })
    return path
  }
  await npm(['pack', `${wanted.name}@${wanted.version}`, '--pack-destination', into], site, env, call)
  const [packed] = (await readdir(into)).filter(name => name.endsWith('.tgz'))
  if (packed === undefined) throw new PosternError('PLUGIN_INSTALL', 'npm pack made no tarball')
  await rename(join(into, packed), path)
  return path
}

/** npm may have been told to do something else, by its settings. @throws PosternError PLUGIN_INSTALL */
async function refuseMissing(site: string, { name, version }: TarballFacts): Promise<void> {
  const found = await readPackageFile(join(site, 'node_modules', name), name).catch(() => undefined)
  if (found?.name === name && found.version === version) return
  throw new PosternError('PLUGIN_INSTALL', `npm says that it installed ${name}@${version}, but it is not there`, {
    next: 'Look at npm’s settings (npm config list), for example dry-run; then try again.',
  })
}

function readWanted(word: string, cwd: string): Wanted {
  if (/^(?:\.{0,2}\/|\.\.?\\).*\.(?:tgz|tar\.gz)$/.test(word)) return { tarball: resolve(cwd, word) }
  const at = word.indexOf('@', 1)
  const [name, version] = at < 0 ? [word, ''] : [word.slice(0, at), word.slice(at + 1)]
  if (PACKAGE_NAME.test(name) && EXACT_VERSION.test(version)) return { name, version }
  if (!PACKAGE_NAME.test(name))
    throw new PosternError(
      'BAD_USAGE',
      `${JSON.stringify(word.slice(0, 200))} is no package’s name, and no tarball’s path`,
      {
        next: 'Write NAME@VERSION, for example postern-auth-api-key@1.0.0, or a path that begins with ./ and ends in .tgz.',
      },
    )
  const what = version === '' ? 'no version' : `${JSON.stringify(version.slice(0, 64))}, which is no exact version`
  throw new PosternError('BAD_USAGE', `${name} has ${what}: only one that is written out is installed`, {
    next: `See which there are (npm view ${name} versions), then write postern plugins add ${name}@1.2.3.`,
  })
}

/** @throws PosternError PLUGIN_INTEGRITY */
function refuseOther({ name, version, integrity }: TarballFacts, { wanted, ...asked }: Adding, label: string): void {
  const differ = (found: string, other: string) =>
    new PosternError('PLUGIN_INTEGRITY', `plugin ${label}: found ${found}; wanted ${other}; nothing was installed`, {
      next: 'Do not use it. Tell whoever told you of it, and who runs the registry.',
    })
  if (!PACKAGE_NAME.test(name) || !EXACT_VERSION.test(version))
    throw differ(`the name ${shortly(name)} and version ${shortly(version)}`, 'proper ones')
  if ('name' in wanted && (wanted.name !== name || wanted.version !== version))
    throw differ(`that the tarball is ${name}@${version}`, `${wanted.name}@${wanted.version}`)
  if (asked.integrity !== undefined && asked.integrity !== integrity)
    throw differ(`the tarball ${integrity}`, asked.integrity)
}

function shortly(text: string): string {
  return JSON.stringify(text.slice(0, 100))
}

function anotherTarball({ name, version, integrity }: TarballFacts, old: LockedPlugin): PosternError {
  const message = `plugin ${name}@${version}: found the tarball ${integrity}; wanted ${old.integrity}, which it was when it was added`
  return new PosternError('PLUGIN_INTEGRITY', message, {
    next: `A version never changes: find out who changed it. To take it all the same: postern plugins remove ${name}, then add it.`,
  })
}

/** What the lock file says; an entry that is broken is replaced. */
function lockedAs(name: string, lock: PluginLock): LockedPlugin | undefined {
  try {
    return lock.has(name) ? checkLocked(name, lock.get(name)) : undefined
  } catch {
    return undefined
  }
}
