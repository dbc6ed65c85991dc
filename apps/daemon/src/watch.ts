import { statSync } from 'node:fs'

/** Milliseconds between two looks. What looks the same twice is written to no more. */
const LOOK = 500

/**
 * Calls `changed` once the file is another one, or has other contents, and rests. Also when `poke` is called. Never while the
 * last call is still at work.
 *
 * The file is looked at, not its folder listened to: so it makes no difference which part of its path was replaced, a link's
 * target (Kubernetes), the file (editors) or a folder above, and network file systems are as good as any.
 *
 * @param changed never rejects
 */
export function watchFile(path: string, changed: () => Promise<void>): Disposable & { poke(): void } {
  let running = false
  let again = false
  const run = async () => {
    again = true
    if (running) return
    running = true
    while (again) {
      again = false
      await changed()
    }
    running = false
  }
  let last = look(path)
  let moving = false
  const timer = setInterval(() => {
    const now = look(path)
    const rests = now === last
    if (moving && rests) void run()
    moving = !rests
    last = now
  }, LOOK)
  return {
    poke: () => void run(),
    [Symbol.dispose]: () => {
      clearInterval(timer)
      again = false
    },
  }
}

/** What changes when the file does; links are followed. */
function look(path: string): string {
  try {
    const { dev, ino, size, mode, mtimeNs, ctimeNs } = statSync(path, { bigint: true })
    return [dev, ino, size, mode, mtimeNs, ctimeNs].join()
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code)
  }
}
