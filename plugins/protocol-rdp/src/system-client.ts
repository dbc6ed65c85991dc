import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'

/** A program that opens .rdp files, and the arguments it is started with. Never a shell, so no name in them is read twice. */
export interface SystemClient {
  readonly program: string
  readonly args: readonly string[]
  /** It is there until the window is closed, and asks for the password at the terminal. Otherwise it hands the file on, and ends. */
  readonly stays: boolean
}

/** What there may be on this system, in the order in which it is tried; none where there is no screen. */
export function systemClients(file: string, env: NodeJS.ProcessEnv, platform: NodeJS.Platform): SystemClient[] {
  // In its own folder: by name alone Windows would look for it in the current one first.
  if (platform === 'win32')
    return [{ program: join(env.SystemRoot ?? 'C:\\Windows', 'System32', 'mstsc.exe'), args: [file], stays: true }]
  if (platform === 'darwin') return [{ program: '/usr/bin/open', args: [file], stays: false }]
  if (!env.DISPLAY && !env.WAYLAND_DISPLAY) return []
  const freerdp = ['xfreerdp3', 'xfreerdp'].map(program => ({ program, args: [file], stays: true }))
  return [...freerdp, { program: 'remmina', args: ['-c', file], stays: true }]
}

/** The program that was started, or undefined where there is none of them. */
export async function openFirst(
  clients: readonly SystemClient[],
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<{ readonly client: SystemClient; readonly child: ChildProcess } | undefined> {
  for (const client of clients) {
    signal.throwIfAborted()
    // What it prints is no output of ours.
    const child = spawn(client.program, client.args, { stdio: ['inherit', 2, 2], env: withoutOurs(env) })
    if (await isStarted(child)) return { client, child }
  }
  return undefined
}

function isStarted(child: ChildProcess): Promise<boolean> {
  return new Promise(resolve => {
    child.once('spawn', () => resolve(true)).on('error', () => resolve(false))
  })
}

/** Credentials that this run was given in its environment are nobody else’s. */
function withoutOurs(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !/^(?:POSTERN|TUNNEL)_/i.test(name)))
}
