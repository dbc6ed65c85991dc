import { spawn } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { freePort } from '@postern/dev'
import { describe, expect, it } from 'vitest'
import { installAlone, pack } from '../../scripts/pack-check.ts'
import { temporaryFolder } from '../world/folder.ts'
import { Running, run, scriptOf } from '../world/program.ts'

const root = join(import.meta.dirname, '../..')
const example = join(root, 'examples/protocol-redis')
const PAGE = join(root, 'docs/plugins/tutorial.md')
const NAME = 'postern-protocol-redis'
const FILE = /^\*\*`([^`]+)`\*\*\n\n```(?:js|json)\n([\s\S]*?)^```$/gm
const peers = (process.env.POSTERN_PEERS ?? '').split(' ')
const hasRedis = ['redis-server', 'redis-cli'].every(name => peers.includes(name))

/** Files that the page shows whole, by their names. */
function filesOf(page: string): ReadonlyMap<string, string> {
  return new Map([...page.matchAll(FILE)].map(([, name = '', text = '']) => [name, text]))
}

/** `UPDATE=1` writes the files of the example into the page. */
function readPage(): string {
  const page = readFileSync(PAGE, 'utf8')
  if (!process.env.UPDATE) return page
  const fresh = page.replace(FILE, (block, name: string, text: string) =>
    block.replace(text, () => readFileSync(join(example, name), 'utf8')),
  )
  writeFileSync(PAGE, fresh)
  return fresh
}

/** A package's files, and what is in them. */
function contentsOf(folder: string, own: readonly string[]): Record<string, string> {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  const named = files.filter(file => own.some(one => file === one || file.startsWith(`${one}/`)) && file.includes('.'))
  return Object.fromEntries(named.sort().map(file => [file, readFileSync(join(folder, file), 'utf8')]))
}

/** What is the same in the example and in the package that is made of the page. */
const SHARED = ['package.json', 'tsconfig.json', 'src', 'test']

/** A program of this repository, as a command. */
const command = (name: string, script: string) => `${name}() { '${process.execPath}' '${script}' "$@"; }\n`

/** In a test the packages come from tarballs, and the programs from this repository. */
const FUNCTIONS = [
  ...(['postern', 'posternd', 'postern-edge'] as const).map(name => command(name, scriptOf(name))),
  command('create-postern-plugin', join(root, 'packages/create-postern-plugin/bin/create-postern-plugin.js')),
  `npm() {
  case "$*" in
    'install --global '*) ;;
    'create postern-plugin@latest '*) shift 2; name=$1; shift 2; create-postern-plugin "$name" "$@" ;;
    install) ln -s "$PREPARED" node_modules ;;
    test) if [ -f src/replies.js ]; then command npm test; fi ;; # what was scaffolded passes: created-plugins.test.ts
    *) command npm "$@" ;;
  esac
}
`,
]

/** A person reads that something is there before they go on. */
function waitFor(block: string): string {
  const until = (what: string) => `for _ in {1..150}; do ${what} > wait 2>&1 && break; sleep 0.2; done\n`
  const waits: string[] = []
  if (block.includes('postern-edge run')) waits.push('postern admin status --data ./edge')
  for (const [, name] of block.matchAll(/> (client\S*\.log)/g)) waits.push(`grep 'is at' ${name}`)
  for (const [, name] of block.matchAll(/> (daemon\S*\.log)/g)) waits.push(`grep connected ${name}`)
  return waits.map(until).join('')
}

describe('docs/plugins/tutorial.md', () => {
  it('shows the files of examples/protocol-redis (write it with UPDATE=1), and what is not shown is as it was made', async () => {
    using folder = temporaryFolder()
    const made = join(folder.path, NAME)
    const program = join(root, 'packages/create-postern-plugin/bin/create-postern-plugin.js')
    await run(process.execPath, [program, made, '--kind', 'protocol'])
    for (const [name, text] of filesOf(readPage())) writeFileSync(join(made, name), text)
    expect(contentsOf(made, SHARED)).toEqual(contentsOf(example, SHARED))
  })

  it.skipIf(!hasRedis)(
    'does what it says with a real Redis, hop and end to end (needs: apt-get install redis-server redis-tools)',
    { timeout: 150_000 },
    async () => {
      using folder = temporaryFolder()
      const ports = { 8443: await freePort(), 6399: await freePort(), 6400: await freePort(), 6401: await freePort() }
      const { status, stdout, stderr } = await follow(folder.path, ports)
      const logs = readdirSync(folder.path).filter(name => name.endsWith('.log'))
      const said = logs.map(name => `== ${name}\n${readFileSync(join(folder.path, name), 'utf8')}`).join('\n')
      expect(status, `${stdout}${stderr}${said}`).toBe(0)
      expect(stdout).toMatch(/^\S fail 0$/m)
      expect(stdout).toContain('OK\nhello\n')
      expect(stderr).toContain('permit: redis: there is no "comands", only "commands"')
      expect(stderr).toContain(
        'next     Correct the permit; what one may say, the plugin of the protocol redis documents.',
      )
      expect(stdout.split("hello\nNOPERM the rule that let you in does not permit 'flushall'\n").length).toBe(3)
      expect(stdout).toContain('PONG\n')
      for (const mode of ['hop', 'end-to-end'])
        expect(stdout).toMatch(
          new RegExp(`deny {2}stream\\.note .*"mode":"${mode}",.*"saw":"redis.denied","facts":{"command":"FLUSHALL"}`),
        )
      expect(stdout.match(/^exact$/gm), stderr).toHaveLength(2)
      expect(readFileSync(join(folder.path, 'client-2.log'), 'utf8')).toContain('mode=end-to-end')
    },
  )
})

/** Types every command of the page in an empty folder, and writes every file of it. */
async function follow(folder: string, ports: Readonly<Record<string, number>>) {
  const page = readPage().replace(/^## From a checkout$[\s\S]*?(?=^## )/m, '')
  const prepared = prepare(join(folder, 'prepared'))
  for (const [name, text] of filesOf(page)) {
    mkdirSync(join(folder, 'files', dirname(name)), { recursive: true })
    writeFileSync(join(folder, 'files', name), text)
  }
  const blocks = [...page.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, text = '']) => text)
  const exact = (port: string) => `'${process.execPath}' '${join(root, 'e2e/world/redis-exact.ts')}' ${port} 6399\n`
  const typed = blocks.map(block => {
    const before = block.startsWith('npm test\nnpm run types') ? 'cp -R ../files/. .\n' : ''
    const after = /redis-cli -p (\d+) FLUSHALL/.exec(block)?.[1]
    return `${before}${block}${waitFor(block)}${after ? exact(after) : ''}`
  })
  const script = ['set -u\n', ...FUNCTIONS, ...typed]
    .join('')
    .replace(/8443|6399|6400|6401/g, port => String(ports[port]))
  await using said = await open(join(folder, 'said'), 'w')
  const { NODE_EXTRA_CA_CERTS: _, NODE_OPTIONS: __, ...env } = process.env
  const own = { POSTERN_HOME: join(folder, 'home'), PREPARED: prepared, NODE_TEST_CONTEXT: undefined }
  const PATH = `${join(root, 'node_modules/.bin')}:${process.env.PATH}`
  const child = spawn('bash', ['-c', script], {
    cwd: folder,
    env: { ...env, ...own, PATH },
    stdio: ['ignore', said.fd, 'pipe'],
    detached: true, // a group of its own, with what it may leave running
  })
  const running = new Running(child, 'bash')
  const deadline = setTimeout(() => child.kill('SIGKILL'), 140_000)
  const status = await new Promise(resolve => child.once('exit', resolve))
  clearTimeout(deadline)
  try {
    process.kill(-(child.pid ?? 0), 'SIGKILL')
  } catch {} // nobody is left
  await running.exit
  return { status, stdout: readFileSync(join(folder, 'said'), 'utf8'), stderr: running.stderr }
}

/** What `npm install` brings, from tarballs; the compiler and Node's types are those of this repository. */
function prepare(folder: string): string {
  const names = ['@postern/interface', '@postern/pump', '@postern/compliance']
  mkdirSync(join(folder, 'tarballs'), { recursive: true })
  installAlone(folder, names, pack(names, join(folder, 'tarballs')))
  symlinkSync(join(root, 'node_modules/@types'), join(folder, 'node_modules/@types'))
  return join(folder, 'node_modules')
}
