import { spawn } from 'node:child_process'
import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { delimiter, isAbsolute, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type Call, PosternError } from '@postern/interface'

/** Milliseconds for one run of npm: a plugin with its dependencies over a slow line. */
const DEADLINE = 600_000

/** Never a script or a git repository, and nothing of the user's other projects. */
const SAFELY = [
  '--ignore-scripts',
  '--allow-git=none',
  '--no-global',
  '--no-workspaces',
  '--no-audit',
  '--no-fund',
  '--no-update-notifier',
  '--loglevel=error',
]

/**
 * Runs the npm that is first in PATH, with the user's own npm settings: registry, proxy, credentials.
 *
 * @throws PosternError PLUGIN_INSTALL with what npm says; `signal.reason`
 */
export async function npm(args: readonly string[], cwd: string, env: NodeJS.ProcessEnv, call: Call): Promise<void> {
  const program = await findNpm(env)
  call.log.debug('runs npm', { program, args: args.join(' ') })
  const late = AbortSignal.timeout(DEADLINE)
  const child = spawn(program, [...args, ...SAFELY], {
    cwd,
    env: withoutOurs(env),
    stdio: ['ignore', 'ignore', 'pipe'],
    signal: AbortSignal.any([call.signal, late]),
  })
  const { promise, resolve, reject } = Promise.withResolvers<number | null>()
  child.once('error', reject).once('close', resolve)
  const [said, status] = await Promise.all([text(child.stderr), promise]).catch((cause: unknown) => {
    call.signal.throwIfAborted()
    const why = late.aborted ? `npm did not end within ${DEADLINE / 60_000} minutes` : `${program} cannot be run`
    throw new PosternError('PLUGIN_INSTALL', why, { cause })
  })
  if (status !== 0) throw new PosternError('PLUGIN_INSTALL', `npm ended with ${status}: ${reasonIn(said)}`)
}

/** Only in folders that PATH names in full: elsewhere it would be whatever lies in the working folder. */
async function findNpm({ PATH = '' }: NodeJS.ProcessEnv): Promise<string> {
  for (const folder of PATH.split(delimiter).filter(isAbsolute)) {
    const path = join(folder, 'npm')
    const there = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    )
    if (there) return path
  }
  throw new PosternError('PLUGIN_INSTALL', 'npm is not in PATH; plugins are installed by it', {
    next: 'Install npm (it comes with Node.js), or unpack the plugin yourself and name its folder: --plugin ./FOLDER.',
  })
}

/** Credentials of Postern are none of npm's business. */
function withoutOurs(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !/^(POSTERN|TUNNEL)_/.test(name)))
}

function reasonIn(said: string): string {
  const lines = said.split('\n').map(line => line.replace(/^npm (?:error|ERR!) ?/, '').trim())
  const telling = lines.filter(line => !/^(?:A complete log.*|code .*|\d*)$/.test(line))
  return telling.slice(0, 3).join('; ').slice(0, 600) || 'it does not say why'
}
