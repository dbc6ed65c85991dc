import { lstatSync, rmSync } from 'node:fs'
import { lstat, realpath, stat } from 'node:fs/promises'
import { connect, type Server } from 'node:net'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { PosternError } from '@postern/interface'
import { homeFolder } from '@postern/program'
import { listenFailed } from './local-address.ts'

/** Bytes of a path that every system takes: macOS has room for 104 with the NUL behind it, Linux for 108. */
const LONGEST = 103
/** Milliseconds. A socket that neither answers nor refuses in this time has somebody behind it who is busy. */
const PROBE = 1_000
/** Milliseconds. A socket is there a moment before its program listens; by then it does. */
const BIRTH = 50

/**
 * Listens at a Unix socket that only this user can connect to (0600), in a folder where nobody else can put another one in its
 * place. A socket that a killed program left behind is removed first; one that somebody listens at is not, nor anything that
 * is not a socket. Closing the server removes the file.
 *
 * @throws PosternError LISTEN_FAILED, FILE_UNSAFE
 */
export async function listenAtSocket(server: Server, path: string): Promise<void> {
  const folder = await realpath(dirname(path)).catch(cause => Promise.reject(listenFailed(path, cause)))
  const real = join(folder, basename(path)) // what was looked at is what is used, wherever a link leads by then
  if (Buffer.byteLength(real) > LONGEST)
    throw new PosternError('LISTEN_FAILED', `the path of a Unix socket has at most ${LONGEST} bytes: ${real}`)
  await refuseOpenFolders(folder, path)
  await removeStale(real)
  await new Promise<void>((resolve, reject) => {
    const failed = (cause: Error) => reject(listenFailed(path, cause))
    server.once('error', failed).once('listening', () => server.off('error', failed))
    // The file is made inside listen(), so no moment is left in which others could connect.
    const before = process.umask(0o177)
    try {
      server.listen({ path: real }, resolve)
    } finally {
      process.umask(before)
    }
  })
}

/** Whoever can write any folder above can put another one there. This user's home is where the user's own trust begins, as for ssh. */
async function refuseOpenFolders(folder: string, path: string): Promise<void> {
  const me = process.getuid?.()
  if (me === undefined) return
  const home = await realpath(homeFolder()).catch(() => undefined)
  for (let one = folder; ; one = dirname(one)) {
    const { mode, uid } = await stat(one)
    const sticky = (mode & 0o1000) !== 0 // there only its owner removes a file, as in /tmp
    if ((uid !== me && uid !== 0) || ((mode & 0o022) !== 0 && !sticky)) {
      throw new PosternError(
        'FILE_UNSAFE',
        `others can put another socket in the place of ${path}: ${one} is theirs too`,
        {
          next: `Use a folder of your own that nobody else can write, for example one below ${process.env.XDG_RUNTIME_DIR ?? '~'}.`,
        },
      )
    }
    if (one === home || one === dirname(one)) return
  }
}

/** @throws PosternError LISTEN_FAILED where something is there that is no stale socket of this user */
async function removeStale(path: string): Promise<void> {
  const found = await lstat(path, { bigint: true }).catch(() => undefined)
  if (!found) return
  if (!found.isSocket())
    throw new PosternError('LISTEN_FAILED', `cannot listen at ${path}: something that is not a socket is there`, {
      next: 'Choose another path.',
    })
  if (process.getuid && Number(found.uid) !== process.getuid())
    throw new PosternError('LISTEN_FAILED', `cannot listen at ${path}: a socket of another user is there`)
  let answered = await answers(path)
  if (!answered) {
    await sleep(BIRTH)
    answered = await answers(path)
  }
  // Several may start at once and find the same: none may remove what another has made meanwhile, not even with the same inode.
  const now = lstatSync(path, { bigint: true, throwIfNoEntry: false })
  const another = now !== undefined && (now.ino !== found.ino || now.mtimeNs !== found.mtimeNs)
  if (answered || another) throw listenFailed(path, Object.assign(new Error('in use'), { code: 'EADDRINUSE' }))
  rmSync(path, { force: true }) // in the same turn
}

function answers(path: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ path, timeout: PROBE })
    const done = (answered: boolean) => {
      socket.destroy()
      resolve(answered)
    }
    socket
      .once('connect', () => done(true))
      .once('timeout', () => done(true))
      .once('error', (error: NodeJS.ErrnoException) => done(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT'))
  })
}
