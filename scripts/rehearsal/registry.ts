// A registry of this machine's own, for the length of a rehearsal: verdaccio. Our packages are what is published there; all others it
// fetches from where npm fetches them here.
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'

export interface Registry extends AsyncDisposable {
  /** `http://localhost:4873/` */
  readonly url: string
  /** Lines of an .npmrc that may publish there. */
  readonly npmrc: string
}

/** Milliseconds. */
const START = 60_000

/**
 * Puts verdaccio into .tools/, once for each pinned version.
 *
 * @returns what to say where it cannot be had
 */
export function installVerdaccio(root: string): string | undefined {
  const folder = join(root, '.tools', 'verdaccio')
  const pins = readFileSync(join(import.meta.dirname, 'verdaccio.json'), 'utf8')
  const stamp = join(folder, 'installed')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === pins) return undefined
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'package.json'), pins)
  const args = ['install', '--ignore-scripts', '--no-package-lock', '--no-audit', '--no-fund', '--loglevel=error']
  const { status, stderr } = spawnSync('npm', args, { cwd: folder, encoding: 'utf8', timeout: 300_000 })
  if (status !== 0) return stderr.trim()
  writeFileSync(stamp, pins)
  return undefined
}

/** @param ours names that are published here and nowhere else */
export async function startRegistry(root: string, folder: string, ours: readonly string[]): Promise<Registry> {
  const port = await freePort()
  const url = `http://localhost:${port}/`
  const names = [...ours, 'postern-protocol-*'] // and plugins of others, as they would be called
  const own = Object.fromEntries(names.map(name => [name, { access: '$all', publish: '$authenticated' }]))
  const config = {
    storage: join(folder, 'storage'),
    auth: { htpasswd: { file: join(folder, 'htpasswd') } },
    uplinks: { upstream: { url: npmConfig('registry'), maxage: '30m', timeout: '60s' } },
    packages: { ...own, '**': { access: '$all', proxy: 'upstream', storage: 'others' } },
    log: { type: 'file', path: join(folder, 'verdaccio.log'), format: 'pretty', level: 'warn' },
    max_body_size: '50mb',
    web: { enable: false },
  }
  const others = join(root, '.tools', 'verdaccio', 'others') // kept: the next rehearsal fetches less
  for (const one of [others, config.storage]) mkdirSync(one, { recursive: true })
  symlinkSync(others, join(config.storage, 'others'))
  const file = join(folder, 'config.yaml') // JSON is YAML
  writeFileSync(file, JSON.stringify(config, null, 2))
  const script = join(root, '.tools', 'verdaccio', 'node_modules', 'verdaccio', 'bin', 'verdaccio')
  const certificates = process.env.NODE_EXTRA_CA_CERTS ?? npmConfig('cafile')
  const child = spawn(process.execPath, [script, '--config', file, '--listen', `localhost:${port}`], {
    cwd: folder,
    env: { ...process.env, ...(certificates && { NODE_EXTRA_CA_CERTS: certificates }) },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  try {
    await answers(url, child)
    return { url, npmrc: npmrc(url, await signUp(url)), [Symbol.asyncDispose]: () => stop(child) }
  } catch (error) {
    await stop(child)
    throw error
  }
}

/** `npm config get`, in words of ours: undefined where it is not set. */
function npmConfig(name: string): string | undefined {
  const value = execFileSync('npm', ['config', 'get', name], { encoding: 'utf8', stdio: 'pipe' }).trim()
  return value === 'null' || value === 'undefined' || value === '' ? undefined : value
}

function npmrc(url: string, token: string): string {
  return `registry=${url}\n${url.replace('http:', '')}:_authToken=${token}\naudit=false\nfund=false\nupdate-notifier=false\n`
}

async function signUp(url: string): Promise<string> {
  const user = { name: 'maintainer', password: crypto.randomUUID(), type: 'user', roles: [] }
  const answer = await fetch(`${url}-/user/org.couchdb.user:${user.name}`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...user, _id: `org.couchdb.user:${user.name}` }),
  })
  const { token } = (await answer.json()) as { readonly token?: string }
  if (!token) throw new Error(`verdaccio took no new user: ${answer.status}`)
  return token
}

async function answers(url: string, child: ChildProcess): Promise<void> {
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', chunk => void (said += chunk))
  for (const end = Date.now() + START; Date.now() < end; await new Promise(done => setTimeout(done, 200))) {
    if (child.exitCode !== null) throw new Error(`verdaccio ended (${child.exitCode})\n${said}`)
    const answer = await fetch(`${url}-/ping`).catch(() => undefined)
    if (answer?.ok) return
  }
  throw new Error(`verdaccio did not answer within ${START / 1000} s\n${said}`)
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise(done => child.once('close', done))
  child.kill('SIGKILL')
  await ended
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise(done => server.once('listening', done))
  const address = server.address()
  await new Promise(done => server.close(done))
  if (typeof address !== 'object' || !address) throw new Error('a server without a port')
  return address.port
}
