import type { ChildProcess } from 'node:child_process'

/** Milliseconds in which what opens browsers says that it cannot. */
const SOON = 2_000

/** Whether this session has a screen that a browser could come up on. */
export function mayHaveBrowser(env: NodeJS.ProcessEnv, platform: NodeJS.Platform = process.platform): boolean {
  if (platform === 'win32' || platform === 'darwin') return true
  return Boolean(env.DISPLAY || env.WAYLAND_DISPLAY || env.BROWSER || env.WSL_DISTRO_NAME)
}

/**
 * Opens a page in the person's browser.
 *
 * @returns false when it is known that none came. True says less: what opens browsers started, and did not complain at once.
 */
export async function openBrowser(url: URL, env: NodeJS.ProcessEnv): Promise<boolean> {
  if (!mayHaveBrowser(env)) return false
  const { default: open } = await import('open')
  const child = await open(url.href).catch(() => undefined)
  return child ? stays(child) : false
}

function stays(child: ChildProcess): Promise<boolean> {
  return new Promise(resolve => {
    const timer = setTimeout(() => resolve(true), SOON)
    const settle = (opened: boolean) => {
      clearTimeout(timer)
      resolve(opened)
    }
    child.once('exit', code => settle(code === 0)).once('error', () => settle(false))
  })
}
