import { watch } from 'node:fs'
import { basename, dirname } from 'node:path'
import type { Logger } from '@postern/interface'

/** Milliseconds without another change until a file counts as written. Editors write, rename and touch in a few. */
const QUIET = 200

/** Kubernetes changes a mounted file by changing the folder that this link leads to. */
const SWAPPED = '..data'

/**
 * Calls `changed` when the file may have changed: its folder is watched, since editors put another file in its place. Also
 * when `poke` is called. Never while the last call is still at work.
 */
export function watchFile(path: string, changed: () => Promise<void>, log: Logger): Disposable & { poke(): void } {
  let timer: NodeJS.Timeout | undefined
  let running = false
  let again = false
  const run = async () => {
    if (running) {
      again = true
      return
    }
    running = true
    do {
      again = false
      await changed()
    } while (again)
    running = false
  }
  const soon = () => {
    clearTimeout(timer)
    timer = setTimeout(() => void run(), QUIET)
  }
  const watcher = watchFolder(path, soon, log)
  return {
    poke: () => void run(),
    [Symbol.dispose]: () => {
      clearTimeout(timer)
      again = false
      watcher?.close()
    },
  }
}

function watchFolder(path: string, changed: () => void, log: Logger) {
  const failed = (cause: Error) =>
    log.warn('the config file is not watched: send SIGHUP after a change', { path, cause: cause.message })
  try {
    const name = basename(path)
    const watcher = watch(dirname(path), (_event, file) => {
      if (file === null || file === name || file === SWAPPED) changed()
    })
    return watcher.on('error', failed)
  } catch (error) {
    failed(error as Error)
    return undefined
  }
}
