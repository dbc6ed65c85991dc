import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'

const program = join(import.meta.dirname, '../bin/postern-dev.js')

function start(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const child = spawn(process.execPath, [program, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  })
  const said = { out: '', err: '' }
  child.stdout.on('data', chunk => (said.out += chunk))
  child.stderr.on('data', chunk => (said.err += chunk))
  return { child, said, exit: new Promise<number | null>(resolve => child.once('close', resolve)) }
}

describe('postern-dev', { timeout: 60_000 }, () => {
  it('--once does the jobs and ends with 0, without a warning', async () => {
    const { said, exit } = start(['--once'])
    expect([await exit, said.err]).toEqual([0, ''])
    expect(said.out).toMatch(/an SSH command went through[^\n]*hello from /)
    expect(said.out).toMatch(/a page over HTTPS: {2}app\.localhost: hello pst_\w+, a service/)
    expect(said.out).not.toContain('password')
  })

  it('tells programs the same, and makes another password each time', async () => {
    const both = [start(['--once', '--json']), start(['--once', '--json'])]
    expect(await Promise.all(both.map(one => one.exit))).toEqual([0, 0])
    const [one, other] = both.map(({ said }) => JSON.parse(said.out))
    expect(one).toMatchObject({
      person: { email: 'ann@example.com', name: 'Ann' },
      urls: { app: `https://app.localhost:${one.port}/`, team: `https://edge.localhost:${one.port}/` },
      job: { output: expect.stringContaining('hello from') },
      request: { output: expect.stringContaining('app.localhost: hello pst_') },
    })
    expect(one.person.password).toMatch(/^[0-9a-f]{18}$/)
    expect(other.person.password).not.toBe(one.person.password)
  })

  it('works on a machine without ssh and sshd', async () => {
    const bare = mkdtempSync(join(tmpdir(), 'postern-bare-'))
    for (const name of ['hostname', 'id']) symlinkSync(`/usr/bin/${name}`, join(bare, name))
    const { said, exit } = start(['--once'], { PATH: bare, POSTERN_SAMPLE_SSHD: 'none' })
    expect([await exit, said.err]).toEqual([0, ''])
    expect(said.out).toMatch(/a small SSH server in this process[\s\S]*hello from /)
    rmSync(bare, { recursive: true })
  })

  it('stays until Ctrl-C, prints commands that work as they stand, and leaves nothing behind', async () => {
    const { child, said, exit } = start([])
    await expect.poll(() => said.out, { timeout: 30_000 }).toContain('Ctrl-C stops everything')
    const folder = /removes (\S+)\.\n/.exec(said.out)?.[1] ?? ''
    const echo = /^ {2}(printf .*)$/m.exec(said.out)?.[1] ?? ''
    const shell = spawn('sh', ['-c', echo])
    let answer = ''
    shell.stdout.on('data', chunk => (answer += chunk))
    expect(await new Promise(resolve => shell.once('close', resolve))).toBe(0)
    expect(answer).toMatch(/^hello\n\n\(that were 6 bytes/)
    expect(existsSync(folder)).toBe(true)
    child.kill('SIGINT')
    expect([await exit, said.err]).toEqual([0, ''])
    expect(existsSync(folder)).toBe(false)
  })

  it('fails with the code of the cause when its port is taken', async () => {
    const first = start(['--json'])
    await expect.poll(() => said(first), { timeout: 30_000 }).toContain('"job"')
    const port = /:(\d+) --id|"port":(\d+)/.exec(said(first))?.slice(1).find(Boolean) ?? ''
    const { said: told, exit } = start(['--once', '--port', port])
    expect(await exit).toBe(4)
    expect(told.err).toContain('LISTEN_FAILED')
    first.child.kill('SIGTERM')
    expect(await first.exit).toBe(0)
  })
})

function said({ said }: ReturnType<typeof start>): string {
  return said.out + said.err
}
