import { spawn } from 'node:child_process'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { temporaryFolder } from '../world/folder.ts'
import { Running, scriptOf } from '../world/program.ts'

const GUIDE = readFileSync(new URL('../../docs/admin.md', import.meta.url), 'utf8')

/** The blocks of the guide in one language, in order. */
function blocks(language: string): string[] {
  return [...GUIDE.matchAll(new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\`$`, 'gm'))].map(([, text = '']) => text)
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise(resolve => server.close(resolve))
  return port
}

/** A person waits until a program that was started behind `&` is there. */
const WAIT = `until postern admin status --data ./edge > wait 2>&1; do sleep 0.2; done
if grep -q '"name":"home"' <(postern tunnel list --data ./edge --json); then
  until grep -q '"online":true' <(postern tunnel info home --data ./edge --json); do sleep 0.2; done
fi
`

it('docs/admin.md does what it says, command by command', async () => {
  using folder = temporaryFolder()
  const [edge, service] = [await freePort(), await freePort()]
  const commands = blocks('sh').map(block => (block.includes(' &\n') ? block + WAIT : block))
  const programs = (['postern', 'posternd', 'postern-edge'] as const).map(
    name => `${name}() { '${process.execPath}' '${scriptOf(name)}' "$@"; }\n`,
  )
  const script = ['set -eu\n', ...programs, ...commands]
    .join('')
    .replaceAll('8443', `${edge}`)
    .replaceAll('8000', `${service}`)
  writeFileSync(join(folder.path, 'access.yaml'), blocks('yaml')[0] ?? '', { mode: 0o600 })
  const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env
  await using said = await open(join(folder.path, 'said'), 'w')
  const child = spawn('bash', ['-c', script], {
    cwd: folder.path,
    env: { ...env, POSTERN_HOME: join(folder.path, 'home') },
    stdio: ['ignore', said.fd, 'pipe'], // Node's pipes are sockets, which `access` ends for all who share them
    detached: true, // a group of its own, with what it leaves running
  })
  const running = new Running(child, 'bash')
  const deadline = setTimeout(() => child.kill(), 60_000)
  const ended = await new Promise(resolve => child.once('exit', resolve))
  clearTimeout(deadline)
  process.kill(-(child.pid ?? 0), 'SIGTERM')
  await running.exit
  const stdout = readFileSync(join(folder.path, 'said'), 'utf8')
  expect([ended, running.stderr]).toEqual([0, expect.any(String)])
  expect(stdout).toContain('hello\n')
  expect(stdout).toContain('actor="admin:') // who did it
  expect(stdout).toContain(blocks('text')[0])
  expect(stdout).toContain('is cut off\n')
  for (const file of ['secrets/ci', 'laptop-secret', 'laptop-secret-2', 'home-token', 'home-token-2'])
    expect(statSync(join(folder.path, file)).mode & 0o777).toBe(0o600)
}, 90_000)
