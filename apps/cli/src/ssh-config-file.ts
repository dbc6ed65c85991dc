import { constants } from 'node:fs'
import { lstat, open, realpath, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type Call, PosternError } from '@postern/interface'
import { fileSecrets, homeFolder, jsonLineOf, type Program, userFolder, writePrivate } from '@postern/program'
import { earlierMention, lineDiff, withBlock } from './ssh-config-text.ts'

/** Bytes. Nobody's ssh_config comes near it. */
const LARGEST = 1024 * 1024

export interface Stanza {
  readonly hostname: string
  readonly stanza: string
  /** Show what would change, and change nothing. */
  readonly dryRun: boolean
}

/**
 * Puts a stanza into the user's `~/.ssh/config`, between two marks, or replaces the one that is there; every other byte stays.
 * The file is replaced whole or not at all and is 0600 afterwards; what it was is kept beside it. A symbolic link is followed
 * to the user's own file, as dotfile managers have it, and stays.
 *
 * @throws PosternError FILE_UNSAFE, FILE_UNREADABLE; CONFIG_INVALID where the marks are broken
 */
export async function writeStanza(one: Stanza, program: Program, call: Call): Promise<void> {
  const file = join(homeFolder(), '.ssh', 'config')
  const work = () => change(file, one, program, call)
  if (one.dryRun) return work()
  await refuseForeignFolder(file) // before the lock, which is a file as well
  // Two at once must not undo each other.
  await fileSecrets(join(userFolder(program.env), 'secrets')).exclusively('ssh-config', work, call)
}

async function change(file: string, { hostname, stanza, dryRun }: Stanza, program: Program, call: Call): Promise<void> {
  const target = await follow(file)
  await refuseForeignFolder(target)
  const before = await readOwn(target)
  const after = withBlock(before ?? '', hostname, stanza, file)
  const line = earlierMention(after, hostname)
  if (line !== undefined)
    call.log.warn(`${file}:${line} is about ${hostname} too; ssh takes the first value of each setting that it finds`)
  const changed = before !== after
  if (dryRun) {
    program.print(lineDiff(before ?? '', after, target))
    if (!changed) call.log.info(`${file} is as it should be`)
    return
  }
  const backup = changed && before !== undefined ? `${target}.before-postern` : undefined
  if (backup !== undefined) await writePrivate(backup, before ?? '')
  if (changed) await writePrivate(target, after)
  if (program.json) program.print(jsonLineOf({ file: target, changed, ...(backup !== undefined && { backup }) }))
  else call.log.info(changed ? `ssh ${hostname} goes through Postern now: ${file}` : `${file} is as it should be`)
}

/** The file that is written: a link is not replaced, but what it leads to is. */
async function follow(file: string): Promise<string> {
  const found = await lstat(file).catch(() => undefined)
  if (!found?.isSymbolicLink()) return file
  return realpath(file).catch(cause => {
    throw new PosternError('FILE_UNSAFE', `${file} is a symbolic link that leads nowhere`, {
      cause,
      next: 'Remove it, or make the file that it leads to.',
    })
  })
}

/** As root for somebody else (sudo), a new file or folder would be root's, and their ssh could not read it. */
async function refuseForeignFolder(file: string): Promise<void> {
  const folder = dirname(file)
  const facts = await stat(folder).catch(() => stat(dirname(folder)).catch(() => undefined))
  if (facts && process.getuid && facts.uid !== process.getuid())
    throw new PosternError('FILE_UNSAFE', `${folder} belongs to another user`, {
      next: 'Run it as the user whose ssh_config it is.',
    })
}

/** @returns undefined where there is none yet */
async function readOwn(file: string): Promise<string | undefined> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    (cause: NodeJS.ErrnoException) => {
      if (cause.code === 'ENOENT') return undefined
      throw new PosternError('FILE_UNREADABLE', `${file} cannot be read (${cause.code})`, { cause })
    },
  )
  if (!handle) return undefined
  await using _closed = handle
  const facts = await handle.stat()
  if (!facts.isFile()) throw new PosternError('FILE_UNSAFE', `${file} is not a regular file`, { next: 'Move it away.' })
  if (process.getuid && facts.uid !== process.getuid())
    throw new PosternError('FILE_UNSAFE', `${file} belongs to another user`, { next: 'Make it your own file.' })
  if (process.getuid && (facts.mode & 0o022) !== 0)
    throw new PosternError('FILE_UNSAFE', `others can write ${file}; ssh does not use it either`, {
      next: `Look through it, then: chmod 600 ${file}`,
    })
  if (facts.size > LARGEST) throw new PosternError('FILE_UNREADABLE', `${file} is larger than 1 MiB`)
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(await handle.readFile())
  } catch (cause) {
    throw new PosternError('FILE_UNREADABLE', `${file} is not UTF-8 text, so it is not changed`, {
      cause,
      next: 'Add what the command prints without --write.',
    })
  }
}
