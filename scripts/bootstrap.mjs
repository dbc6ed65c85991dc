// Sets this checkout up and runs one task. Plain JavaScript for any Node >= 18: it is what brings a current Node.
//
//   node scripts/bootstrap.mjs <task> [arguments]
//
// What it installs stays in .tools/ and node_modules/ of this folder. A second run finds it there and only checks.
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { presentPeers } from './peers.mjs'

const WANTED_NODE = 24
const root = dirname(dirname(fileURLToPath(import.meta.url)))
const tools = join(root, '.tools')
const bin = join(tools, 'node_modules', '.bin')
const windows = process.platform === 'win32'
const ownNode = join(bin, windows ? 'node.cmd' : 'node')

/** The tasks a person can name, each a command line run with the tools first on PATH. */
const TASKS = {
  setup: () => true,
  build: () => turbo('build'),
  start: args => build() && node(join('apps', 'dev', 'bin', 'postern-dev.js'), ...args),
  commands: () => build() && node(join('scripts', 'commands.ts')),
  test: args => node(join('scripts', 'test.ts'), ...args),
  check: args => build() && node(join('scripts', 'check.ts'), ...args),
  generate: args => build() && node(join('scripts', 'generate.ts'), ...args),
  release: args => build() && node(join('scripts', 'release.ts'), ...args),
  soak: args => build() && node(join('scripts', 'soak.ts'), ...args),
  bench: args => build() && node(join('bench', 'run.ts'), ...args),
}

const [task, ...rest] = process.argv.slice(2)
const work = Object.hasOwn(TASKS, task ?? '') ? TASKS[task] : undefined
if (!work) fail(`no task "${task ?? ''}"; there are: ${Object.keys(TASKS).join(', ')}`)
const env = environment()
installTools()
installPackages()
if (!work(rest)) process.exit(1)

function build() {
  return turbo('build')
}

/** Silent when all goes well: a person who typed `npm start` wants to see Postern, not the build. */
function turbo(name) {
  const quiet = task === 'build' ? [] : ['--output-logs=errors-only', '--log-prefix=none', '--ui=stream']
  const began = Date.now()
  const done = spawnSync('turbo', ['run', name, ...quiet], {
    cwd: root,
    env,
    shell: windows,
    encoding: 'utf8',
    stdio: task === 'build' ? 'inherit' : 'pipe',
  })
  if (done.status !== 0) {
    process.stderr.write(`${done.stdout ?? ''}${done.stderr ?? ''}`)
    return false
  }
  if (Date.now() - began > 3000) say(`built in ${seconds(began)}`)
  return true
}

/** Hands the terminal and the exit status over to a program of this repository. */
function node(script, ...args) {
  const child = spawn(nodeProgram(), [join(root, script), ...args], { cwd: root, env, stdio: 'inherit' })
  process.on('SIGINT', () => {}) // the terminal sends it to the child as well, which ends in its own time
  process.on('SIGTERM', () => child.kill('SIGTERM')) // comes to this process alone
  child.once('error', error => fail(`cannot run ${script}: ${error.message}`))
  child.once('close', (status, signal) => process.exit(status ?? 128 + (constants.signals[signal] ?? 1)))
  return true
}

/** npm's own settings, handed down to everything it starts, would be read by pnpm as its own: they are left out. */
function environment() {
  const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name)))
  const path = [bin, join(root, 'node_modules', '.bin'), process.env.PATH ?? ''].join(delimiter)
  return {
    ...clean,
    PATH: path,
    POSTERN_PEERS: presentPeers().join(' '),
    TURBO_TELEMETRY_DISABLED: '1',
    DO_NOT_TRACK: '1',
  }
}

function nodeProgram() {
  return existsSync(ownNode) ? ownNode : process.execPath
}

function installTools() {
  const pins = JSON.parse(readFileSync(join(root, 'scripts', 'tools.json'), 'utf8'))
  const old = Number(process.versions.node.split('.')[0]) < WANTED_NODE
  if (!old) delete pins.dependencies.node // the machine's own will do
  const stamp = join(tools, 'installed')
  const wanted = `${JSON.stringify(pins.dependencies)} ${process.platform} ${process.arch}`
  const there = existsSync(join(bin, windows ? 'pnpm.cmd' : 'pnpm'))
  if (there && (read(stamp) === wanted || (!old && existsSync(ownNode)))) return
  const began = Date.now()
  say(
    `${old ? `Node ${process.versions.node} is too old to run Postern: putting a current one` : 'putting pnpm'} into .tools/ …`,
  )
  mkdirSync(tools, { recursive: true })
  writeFileSync(join(tools, 'package.json'), JSON.stringify(pins, null, 2))
  run('npm', ['install', '--no-package-lock', '--no-audit', '--no-fund', '--loglevel=error'], tools)
  writeFileSync(stamp, wanted)
  say(`done in ${seconds(began)}`)
}

function installPackages() {
  const stamp = join(tools, 'packages')
  const wanted = hash([
    join(root, 'pnpm-lock.yaml'),
    join(root, 'pnpm-workspace.yaml'),
    join(root, 'package.json'),
    ...manifests(),
  ])
  if (read(stamp) === wanted && existsSync(join(root, 'node_modules'))) return
  const began = Date.now()
  say('installing packages …')
  run('pnpm', ['install', '--frozen-lockfile', '--reporter=silent'], root)
  writeFileSync(stamp, wanted)
  say(`done in ${seconds(began)}`)
}

function manifests() {
  const groups = ['packages', 'plugins', 'apps'].map(name => join(root, name)).filter(existsSync)
  const folders = groups.flatMap(group => readdirSync(group).map(name => join(group, name)))
  return [...folders, join(root, 'e2e'), join(root, 'bench')]
    .map(folder => join(folder, 'package.json'))
    .filter(existsSync)
    .sort()
}

function run(command, args, cwd) {
  const done = spawnSync(command, args, { cwd, env, shell: windows, encoding: 'utf8' })
  if (done.status === 0) return
  process.stderr.write(`${done.stdout ?? ''}${done.stderr ?? ''}`)
  fail(`"${command} ${args.join(' ')}" failed${done.error ? `: ${done.error.message}` : ''}`)
}

function hash(files) {
  const sum = createHash('sha256')
  for (const file of files) sum.update(file.slice(root.length)).update(read(file) ?? '')
  return sum.digest('hex')
}

function read(file) {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

function seconds(since) {
  return `${((Date.now() - since) / 1000).toFixed(1)} s`
}

function say(line) {
  process.stderr.write(`setup: ${line}\n`)
}

function fail(line) {
  process.stderr.write(`setup: ${line}\n`)
  process.exit(1)
}
