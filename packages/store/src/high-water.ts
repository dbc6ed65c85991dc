import { closeSync, constants, fsyncSync, openSync, readFileSync, renameSync, unlinkSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { PosternError } from '@postern/interface'

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_RDONLY, O_WRONLY } = constants
/** Revoke keys that are remembered, the newest. About 30 KB. */
const MOST_KEYS = 500

/** A database that is older than it has been: somebody put a copy in its place. */
export interface Restored {
  /** Version of the copy. */
  readonly from: number
  /** Version that had been reached, at least. */
  readonly was: number
  /** What was revoked in between and is not in the copy, as far as it is remembered. */
  readonly missed: readonly string[]
}

interface Mark {
  readonly version: number
  /** Revoke key and version, oldest first. */
  readonly revoked: readonly (readonly [key: string, version: number])[]
}

/**
 * How far the database has come, in a file beside it (0600): a copy of yesterday, put in its place, is known by being behind, and
 * what was revoked since is known by name. Belongs into no backup. Used on the writer thread alone.
 */
export class HighWater {
  readonly #path: string
  #mark: Mark

  /** @throws PosternError STORE_UNUSABLE when the file cannot be read */
  constructor(database: string) {
    this.#path = `${database}.version`
    this.#mark = readMark(this.#path)
  }

  /** The next change has a version above this. */
  get version(): number {
    return this.#mark.version
  }

  /** @param version the database's now */
  restored(version: number): Restored | undefined {
    const { version: was, revoked } = this.#mark
    if (version >= was) return undefined
    return { from: version, was, missed: revoked.filter(([, at]) => at > version).map(([key]) => key) }
  }

  /**
   * Notes a change that is committed. Where the file cannot be written it stays behind, and is written with the next change: the
   * change is made, and whoever asked for it must hear so.
   */
  note(version: number, keys: readonly string[]): void {
    const revoked = [...this.#mark.revoked, ...keys.map(key => [key, version] as const)].slice(-MOST_KEYS)
    this.#mark = { version, revoked }
    try {
      writeWhole(this.#path, JSON.stringify(this.#mark))
    } catch {
      // A full disk: the audit log, which cannot be written either, says so.
    }
  }
}

function readMark(path: string): Mark {
  try {
    const mark = JSON.parse(readFileSync(path, { encoding: 'utf8', flag: O_RDONLY | O_NOFOLLOW })) as Partial<Mark>
    if (Number.isSafeInteger(mark.version) && Array.isArray(mark.revoked)) return mark as Mark
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return { version: 0, revoked: [] }
    throw unreadable(path, cause)
  }
  throw unreadable(path, undefined)
}

/** Beside it, flushed, then renamed over what was there. */
function writeWhole(path: string, text: string): void {
  const beside = `${path}.new`
  try {
    unlinkSync(beside)
  } catch {
    // There is none, as a rule.
  }
  const file = openSync(beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
  try {
    writeSync(file, text)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  renameSync(beside, path)
  if (process.platform === 'win32') return
  const folder = openSync(dirname(path), O_RDONLY)
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
}

function unreadable(path: string, cause: unknown): PosternError {
  return new PosternError('STORE_UNUSABLE', `${path} cannot be read`, {
    cause,
    next: 'It says how far the database had come. Without it, a restored copy is not noticed: delete it only if you know.',
  })
}
