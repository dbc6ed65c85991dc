import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import type { Kind, Names } from './names.ts'

const TEMPLATES = join(import.meta.dirname, '../templates')
/** npm would take a .gitignore out of this package's tarball, and read a package.json in it as one that counts. */
const RENAMED: Readonly<Record<string, string>> = { _gitignore: '.gitignore', '_package.json': 'package.json' }

/** Whether something would be written over, or mixed with what is there. */
export function isTaken(folder: string): boolean {
  try {
    return readdirSync(folder).length > 0
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ENOENT' // a file, or a folder that cannot be read
  }
}

/**
 * Writes a package into a folder that is not there yet, or empty. Nothing is written over.
 *
 * @returns the files, relative to the folder
 */
export function scaffold(kind: Kind, names: Names): readonly string[] {
  return ['common', kind].flatMap(template => copy(join(TEMPLATES, template), names)).sort()
}

function copy(template: string, names: Names): string[] {
  const files = readdirSync(template, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile())
  return files.map(entry => {
    const source = join(entry.parentPath, entry.name)
    const place = named(relative(template, join(entry.parentPath, RENAMED[entry.name] ?? entry.name)), names)
    const target = join(names.folder, place)
    mkdirSync(dirname(target), { recursive: true })
    writeFileSync(target, named(readFileSync(source, 'utf8'), names), { flag: 'wx' })
    return place
  })
}

/** The templates are packages that work as they are, by names that nobody else has. */
function named(text: string, names: Names): string {
  const words: Readonly<Record<string, string>> = {
    'my-package': names.package,
    'my-plugin': names.plugin,
    MY_PLUGIN: names.plugin.toUpperCase().replaceAll('-', '_'),
  }
  return text.replace(/my-package|my-plugin|MY_PLUGIN/g, word => words[word] ?? word)
}
