import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

const script = join(import.meta.dirname, '../bin/postern.js')
/** What the bundle is made of, where each module still says its name. It is split where these import each other late. */
const modules = join(import.meta.dirname, '../dist/main.js')
/** Tells every module as it is loaded, on a line of its own. */
const TRACE = `import { registerHooks } from 'node:module'; import { writeSync } from 'node:fs'
registerHooks({ load: (url, context, next) => (writeSync(2, 'loads ' + url + '\\n'), next(url, context)) })`

export interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
  /** The modules it loaded, where it was traced. */
  readonly loaded: readonly string[]
}

/** Runs `postern` to its end, with nothing of this machine's settings. */
export async function postern(
  args: readonly string[],
  how: { readonly env?: NodeJS.ProcessEnv; readonly cwd?: string; readonly trace?: boolean } = {},
): Promise<Ended> {
  const { env = {}, cwd = import.meta.dirname, trace } = how
  const node = trace ? ['--import', `data:text/javascript,${encodeURIComponent(TRACE)}`] : []
  const child = spawn(process.execPath, [...node, trace ? modules : script, ...args], {
    env: { PATH: process.env.PATH, POSTERN_HOME: '/nonexistent', ...env },
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 15_000,
  })
  let stdout = ''
  let said = ''
  child.stdout.on('data', chunk => (stdout += chunk))
  child.stderr.on('data', chunk => (said += chunk))
  const [code] = await once(child, 'close')
  const lines = said.split('\n')
  const loaded = lines.filter(line => line.startsWith('loads ')).map(line => line.slice(6))
  return { code, stdout, stderr: lines.filter(line => !line.startsWith('loads ')).join('\n'), loaded }
}
