import { lstat, stat, unlink } from 'node:fs/promises'
import { connect, type Server } from 'node:net'
import { dirname } from 'node:path'
import { PosternError } from '@postern/interface'
import { listenFailed } from './local-address.ts'

/** Bytes of a path that every system takes: macOS has room for 104 with the NUL behind it, Linux for 108. */
const LONGEST = 103
/** Milliseconds. A socket that neither answers nor refuses in this time has somebody behind it who is busy. */
const PROBE = 1_000

/**
 * Listens at a Unix socket that only this user can connect to (0600), in a folder where nobody else can put another one in its
 * place. A socket that a killed program left behind is removed first; one that somebody listens at is not, nor anything that
 * is not a socket. Closing the server removes the file.
 *
 * @throws PosternError LISTEN_FAILED, FILE_UNSAFE
 */
export async function listenAtSocket(server: Server, path: string): Promise<void> {
  if (Buffer.byteLength(path) > LONGEST)
    throw new PosternError('LISTEN_FAILED', `the path of a Unix socket has at most ${LONGEST} bytes: ${path}`)
  await refuseOpenFolder(path)
  await removeStale(path)
  await new Promise<void>((resolve, reject) => {
    const failed = (cause: Error) => reject(listenFailed(path, cause))
    server.once('error', failed).once('listening', () => server.off('error', failed))
    // The file is made inside listen(), so no moment is left in which others could connect.
    const before = process.umask(0o177)
    try {
      server.listen({ path }, resolve)
    } finally {
      process.umask(before)
    }
  })
}

async function refuseOpenFolder(path: string): Promise<void> {
  const folder = dirname(path)
  const { mode, uid } = await stat(folder).catch(cause => Promise.reject(listenFailed(path, cause)))
  if (!process.getuid) return
  const sticky = (mode & 0o1000) !== 0 // there only its owner removes a file, as in /tmp
  const foreign = uid !== process.getuid() && uid !== 0
  if (foreign || ((mode & 0o022) !== 0 && !sticky)) {
    throw new PosternError('FILE_UNSAFE', `others can put another socket in the place of ${path}`, {
      next: `Use a folder of your own that nobody else can write, for example one below ${process.env.XDG_RUNTIME_DIR ?? '~'}.`,
    })
  }
}

async function removeStale(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined)
  if (!found) return
  if (!found.isSocket())
    throw new PosternError('LISTEN_FAILED', `cannot listen at ${path}: something that is not a socket is there`, {
      next: 'Choose another path.',
    })
  if (process.getuid && found.uid !== process.getuid())
    throw new PosternError('LISTEN_FAILED', `cannot listen at ${path}: a socket of another user is there`)
  if (await answers(path)) throw listenFailed(path, Object.assign(new Error('in use'), { code: 'EADDRINUSE' }))
  const { ino } = await lstat(path).catch(() => found)
  if (ino === found.ino) await unlink(path).catch(() => {}) // gone meanwhile is as good
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
