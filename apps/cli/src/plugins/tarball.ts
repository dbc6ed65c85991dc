import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { PosternError } from '@postern/interface'
import { checkManifest, LARGEST_MANIFEST } from '@postern/registry'
import { Parser, type ReadEntry } from 'tar'

const MOST_ENTRIES = 20_000
/** Bytes of all files, unpacked. */
const LARGEST = 256 * 2 ** 20
/** Bytes read at once: they are unpacked at once, to a thousand times as many. */
const AT_ONCE = 1024
/** Bytes behind the end of a tarball, compressed: what it is filled up with takes some fifty. The parser keeps them all, unpacked. */
const MOST_BEHIND = 2048
const FILES: readonly string[] = ['File', 'OldFile', 'ContiguousFile', 'Directory']
const SCRIPTS: readonly string[] = ['preinstall', 'install', 'postinstall']

/** What a tarball says it is. */
export interface TarballFacts {
  readonly name: string
  readonly version: string
  /** `sha512-…`, as npm writes it. */
  readonly integrity: string
}

/**
 * Looks into a tarball before anything of it is unpacked, with the library that npm unpacks it with.
 *
 * @param label how messages call it
 * @throws PosternError PLUGIN_UNSAFE: a link, a device, a path that leaves the package, one path twice, an install script, a
 *   dependency that is not the registry's, too much; PLUGIN_MANIFEST, PLUGIN_API
 */
export async function lookInto(path: string, label: string): Promise<TarballFacts> {
  const contents = new Contents(label)
  const parser = new Parser({ strict: true, onReadEntry: entry => contents.take(entry) })
  const broken = (cause: unknown) => (contents.wrong ??= `no tarball that can be read (${messageOf(cause)})`)
  parser.on('error', broken)
  const hash = createHash('sha512')
  let behind = Number.NEGATIVE_INFINITY
  parser.on('eof', () => (behind = 0))
  for await (const chunk of createReadStream(path, { highWaterMark: AT_ONCE }) as AsyncIterable<Buffer>) {
    hash.update(chunk)
    behind += chunk.length
    if (behind > MOST_BEHIND) contents.wrong ??= `more than ${MOST_BEHIND} bytes behind its end`
    if (contents.wrong === undefined) parser.write(chunk)
  }
  const { promise, resolve } = Promise.withResolvers<void>()
  if (contents.wrong === undefined) {
    parser.on('end', resolve).on('error', resolve)
    parser.end()
    await promise
  }
  const { name, version } = contents.check()
  return { name, version, integrity: `sha512-${hash.digest('base64')}` }
}

/** What was seen of a tarball so far. */
class Contents {
  wrong: string | undefined
  readonly #label: string
  readonly #paths = new Set<string>()
  readonly #manifest: Buffer[] = []
  #top: string | undefined
  #bytes = 0

  constructor(label: string) {
    this.#label = label
  }

  take(entry: ReadEntry): void {
    this.wrong ??= this.#mistakeIn(entry)
    const isManifest = entry.path === `${this.#top}/package.json` && entry.size <= LARGEST_MANIFEST
    if (isManifest) entry.on('data', chunk => this.#manifest.push(chunk as Buffer))
    else entry.resume()
  }

  check(): Pick<TarballFacts, 'name' | 'version'> {
    if (this.wrong !== undefined) throw unsafe(this.#label, this.wrong)
    const { name, version, scripts, postern, ...more } = this.#packageFile()
    checkManifest(postern, this.#label)
    const script = SCRIPTS.find(one => isRecord(scripts) && one in scripts)
    if (script !== undefined)
      throw unsafe(this.#label, `the script "${script}", which wants to run when it is installed`)
    if (this.#paths.has(asOneFile(`${this.#top}/binding.gyp`)))
      throw unsafe(this.#label, 'binding.gyp, which npm would build')
    for (const kind of ['dependencies', 'optionalDependencies', 'peerDependencies']) {
      const listed = isRecord(more[kind]) ? more[kind] : {}
      const stray = Object.entries(listed).find(([, range]) => typeof range !== 'string' || /[:/]/.test(range))
      if (stray)
        throw unsafe(this.#label, `the dependency ${quoted(stray[0])} from ${quoted(stray[1])}, not by its version`)
    }
    if (typeof name !== 'string' || typeof version !== 'string')
      throw unsafe(this.#label, `the name ${quoted(name)} and version ${quoted(version)}, not texts`)
    return { name, version }
  }

  #mistakeIn({ path, type, size }: ReadEntry): string | undefined {
    const clean = path.replace(/\/$/, '')
    const parts = clean.split('/')
    this.#top ??= parts[0]
    this.#bytes += size
    if (!FILES.includes(type)) return `${JSON.stringify(path.slice(0, 200))}, a ${type}`
    if (
      /[\\\0]/.test(path) ||
      parts.some(part => part === '' || part === '.' || part === '..') ||
      parts[0] !== this.#top
    )
      return `${JSON.stringify(path.slice(0, 200))}, a path that leaves the package`
    const file = asOneFile(clean)
    if (type !== 'Directory' && this.#paths.has(file)) return `${JSON.stringify(path.slice(0, 200))} twice`
    this.#paths.add(file)
    if (this.#paths.size > MOST_ENTRIES) return `more than ${MOST_ENTRIES} files`
    return this.#bytes > LARGEST ? `more than ${LARGEST} bytes` : undefined
  }

  #packageFile(): Readonly<Record<string, unknown>> {
    try {
      const json: unknown = JSON.parse(Buffer.concat(this.#manifest).toString())
      if (isRecord(json)) return json
    } catch {
      // Said below.
    }
    throw unsafe(this.#label, 'no package.json that can be read')
  }
}

/** Paths that are one file where neither case counts nor how a letter is written, as on macOS: `package.j\u017fon` is package.json. */
function asOneFile(path: string): string {
  return path.normalize('NFKD').toUpperCase()
}

/** A value of package.json, which may be anything. */
function quoted(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value.slice(0, 100)) : `a value of type ${typeof value}`
}

function unsafe(label: string, found: string): PosternError {
  return new PosternError('PLUGIN_UNSAFE', `plugin ${label}: found ${found}; nothing was installed`)
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message.slice(0, 200) : 'broken'
}
