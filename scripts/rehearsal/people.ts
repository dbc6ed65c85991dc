// What people do after a release, each from an empty folder: somebody who wants the client, somebody beside a service, somebody with an
// edge, and the author of a plugin.
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { freePort } from './registry.ts'

export interface Shop {
  /** Of everybody's folders. */
  readonly folder: string
  readonly npmrc: string
  /** What comes with npm's every call: this registry, and a cache that knows no other. */
  readonly env: NodeJS.ProcessEnv
}

interface Said {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

/** Milliseconds. */
const INSTALL = 240_000
const COMMAND = 60_000

export function openShop(folder: string, npmrc: string): Shop {
  mkdirSync(folder, { recursive: true })
  const file = join(folder, 'npmrc')
  writeFileSync(file, npmrc, { mode: 0o600 })
  const env = {
    ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(POSTERN|TUNNEL|npm)_/i.test(name))),
    NPM_CONFIG_USERCONFIG: file,
    NPM_CONFIG_CACHE: join(folder, 'cache'),
    POSTERN_HOME: join(folder, 'home'),
    POSTERN_KEYRING: 'off',
  }
  return { folder, npmrc, env }
}

/** `npm install --global`, into a prefix of its own. @returns the folder of its commands */
export async function installGlobally(shop: Shop, name: string): Promise<string> {
  const prefix = join(shop.folder, name.replace('/', '-'))
  mkdirSync(prefix, { recursive: true })
  await well(run('npm', ['install', '--global', '--prefix', prefix, name], { cwd: prefix, env: shop.env }, INSTALL))
  return join(prefix, 'bin')
}

/** `npm install` in an empty project. @returns the project */
export async function installInProject(shop: Shop, folder: string, names: readonly string[]): Promise<string> {
  const project = join(shop.folder, folder)
  mkdirSync(project, { recursive: true })
  if (!existsSync(join(project, 'package.json')))
    writeFileSync(join(project, 'package.json'), '{ "name": "empty", "private": true, "type": "module" }\n')
  await well(run('npm', ['install', ...names], { cwd: project, env: shop.env }, INSTALL))
  return project
}

/** Whoever installed a program has its commands, no others, and each says what it can do. */
export async function checkCommands(shop: Shop, bin: string, wanted: readonly string[]): Promise<void> {
  const there = readdirSync(bin).sort()
  same(there.join(' '), [...wanted].sort().join(' '), `the commands in ${bin}`)
  for (const name of there) {
    const { stdout } = await well(run(join(bin, name), ['--help'], { env: shop.env }))
    if (!stdout.includes(name)) throw new Error(`${name} --help says nothing of ${name}\n${stdout}`)
  }
}

export interface Commands {
  readonly postern: string
  readonly posternd: string
  readonly edge: string
}

/** A word to a private service and back, through what was installed; nothing for who has the wrong secret. */
export async function connectThrough(shop: Shop, commands: Commands): Promise<void> {
  await using site = await startSite(shop, commands)
  const good = await site.access(site.secretFile)
  same(good.stdout, 'hello\n', `what came back\n${good.stderr}`)
  same(good.status, 0, `postern access tcp\n${good.stderr}`)
  same(site.visits(), 1, 'connections to the service')
  writeFileSync(join(shop.folder, 'wrong-secret'), `psts_${'A'.repeat(43)}\n`, { mode: 0o600 })
  const bad = await site.access(join(shop.folder, 'wrong-secret'))
  if (bad.status === 0 || !bad.stderr.includes('AUTH_REJECTED'))
    throw new Error(`a wrong secret was not refused (${bad.status})\n${bad.stderr}`)
  same(site.visits(), 1, 'connections to the service, after a refusal')
}

const EMBEDDED = `import { ECHO_HOST, startDev } from '@postern/dev'
import { createClient, use } from '@postern/client'
import serviceToken from '@postern/auth-service-token/client'
import websocket from '@postern/transport-websocket/client'

await using dev = await startDev()
const { id, secret } = dev.serviceToken
await using postern = createClient({ auth: use(serviceToken, { id, secret }), transport: websocket, ca: dev.ca })
const socket = await postern.open(ECHO_HOST + ':' + dev.port)
socket.end('hello\\n')
for await (const chunk of socket) process.stdout.write(chunk)
`

/** Edge, daemon and client as libraries, in one process. */
export async function embed(shop: Shop): Promise<void> {
  const names = ['client', 'dev', 'auth-service-token', 'transport-websocket'].map(name => `@postern/${name}`)
  const project = await installInProject(shop, 'embedder', names)
  writeFileSync(join(project, 'test.js'), EMBEDDED)
  const { stdout } = await well(run(process.execPath, ['test.js'], { cwd: project, env: shop.env }))
  same(stdout.startsWith('hello\n'), true, `what came back\n${stdout}`)
}

interface Site extends AsyncDisposable {
  readonly secretFile: string
  visits(): number
  access(secretFile: string): Promise<Said>
}

interface Seeded {
  readonly serviceToken: { readonly id: string; readonly secret: string }
  readonly tunnelToken: string
  readonly caFile: string
}

async function startSite({ folder, env }: Shop, { postern, posternd, edge }: Commands): Promise<Site> {
  await using owned = new AsyncDisposableStack()
  const data = join(folder, 'edge-data')
  const init = ['init', '--data', data, '--hostname', 'echo.localhost', '--tunnel', 'home']
  const { stdout } = await well(run(edge, [...init, '--team-domain', 'edge.localhost', '--json'], { env }))
  const { serviceToken, tunnelToken, caFile } = JSON.parse(stdout) as Seeded
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }
  const secretFile = file('service-secret', serviceToken.secret)
  const service = await startEcho()
  owned.defer(() => service[Symbol.asyncDispose]())
  const port = await freePort()
  const begin = async (program: string, args: readonly string[], said: RegExp) => {
    const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
    owned.defer(() => stop(child))
    await says(child, program, said)
  }
  await begin(edge, ['run', '--data', data, '--listen', `127.0.0.1:${port}`], /edge listens/)
  const to = ['--edge', `https://edge.localhost:${port}`, '--ca', caFile]
  const serve = ['--hostname', 'echo.localhost', '--url', `tcp://127.0.0.1:${service.port}`]
  await begin(posternd, [...serve, ...to, '--token-file', file('tunnel-token', tunnelToken)], /connected to the edge/)
  const parts = owned.move()
  const access = ['access', 'tcp', '--hostname', `echo.localhost:${port}`, '--ca', caFile, '--id', serviceToken.id]
  return {
    secretFile,
    visits: () => service.visits,
    access: secret => run(postern, [...access, '--secret-file', secret], { env }, COMMAND, 'hello\n'),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

async function startEcho(): Promise<AsyncDisposable & { readonly port: number; readonly visits: number }> {
  let visits = 0
  const server: Server = createServer({ allowHalfOpen: true }, socket => {
    visits++
    socket.on('error', () => {})
    socket.pipe(socket)
  }).listen(0, '127.0.0.1')
  await new Promise(done => server.once('listening', done))
  const { port } = server.address() as { readonly port: number }
  return {
    port,
    get visits() {
      return visits
    },
    [Symbol.asyncDispose]: () => new Promise<void>(done => void server.close(() => done())),
  }
}

export async function run(
  program: string,
  args: readonly string[],
  options: SpawnOptions,
  deadline = COMMAND,
  input = '',
): Promise<Said> {
  const child = spawn(program, args, { ...options, stdio: 'pipe' })
  const late = setTimeout(() => child.kill('SIGKILL'), deadline)
  const said = { stdout: '', stderr: '' }
  child.stdout.on('data', chunk => void (said.stdout += chunk))
  child.stderr.on('data', chunk => void (said.stderr += chunk))
  child.stdin.on('error', () => {}) // it may have ended without reading
  child.stdin.end(input)
  try {
    const status = await new Promise<number>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', code => resolve(code ?? -1))
    })
    return { status, ...said }
  } finally {
    clearTimeout(late)
  }
}

/** @throws with everything it said, where it failed */
export async function well(running: Promise<Said>): Promise<Said> {
  const said = await running
  if (said.status !== 0) throw new Error(`ended with ${said.status}\n${said.stdout}${said.stderr}`)
  return said
}

export function same(found: unknown, wanted: unknown, what: string): void {
  if (found !== wanted) throw new Error(`${JSON.stringify(found)} and not ${JSON.stringify(wanted)}: ${what}`)
}

async function says(child: ChildProcess, name: string, what: RegExp): Promise<void> {
  let said = ''
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const late = setTimeout(() => reject(new Error(`${name} did not say ${what}\n${said}`)), COMMAND)
  const hear = (chunk: unknown) => {
    said += chunk
    if (what.test(said)) resolve()
  }
  child.stdout?.on('data', hear)
  child.stderr?.on('data', hear)
  child.once('error', reject)
  child.once('close', code => reject(new Error(`${name} ended (${code}) before it said ${what}\n${said}`)))
  await promise.finally(() => clearTimeout(late))
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise(done => child.once('close', done))
  child.kill('SIGKILL')
  await ended
}
