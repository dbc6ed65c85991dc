import { spawn } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { freePort } from '@postern/dev'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { temporaryFolder } from '../world/folder.ts'
import { Running, scriptOf, start } from '../world/program.ts'

/** Skipped, by name, where the program is missing. */
const noOpenssl = !(process.env.POSTERN_PEERS ?? '').split(' ').includes('openssl')
const GUIDE = readFileSync(new URL('../../docs/certificates.md', import.meta.url), 'utf8')

/** A person waits until a program that was started behind `&` is there. */
const WAIT = `until postern admin status --data ./edge > wait 2>&1; do sleep 0.2; done
if grep -q '"name":"home"' <(postern tunnel list --data ./edge --json); then
  until grep -q '"online":true' <(postern tunnel info home --data ./edge --json); do sleep 0.2; done
fi
`

// docs/certificates.md as a new user types it, in an empty folder; then what else may happen to who did.
describe('mTLS for a CI job', () => {
  const folder = temporaryFolder()
  const inFolder = (name: string) => join(folder.path, name)
  let edge: number
  let shell: Running
  let said = ''

  beforeAll(async () => {
    edge = await freePort()
    const service = await freePort()
    const blocks = [...GUIDE.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, text = '']) => text)
    const commands = blocks.map(block => (block.includes(' &\n') ? block + WAIT : block))
    const programs = (['postern', 'posternd', 'postern-edge'] as const).map(
      name => `${name}() { '${process.execPath}' '${scriptOf(name)}' "$@"; }\n`,
    )
    const script = ['set -eu\n', ...programs, ...commands, 'echo "the end"\nwait\n']
      .join('')
      .replaceAll('8443', `${edge}`)
      .replaceAll('8000', `${service}`)
    const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env
    await using out = await open(inFolder('said'), 'w')
    const child = spawn('bash', ['-c', script], {
      cwd: folder.path,
      env: { ...env, POSTERN_HOME: inFolder('home') },
      stdio: ['ignore', out.fd, 'pipe'],
      detached: true, // a group of its own, with what it leaves running
    })
    shell = new Running(child, 'bash')
    const deadline = Date.now() + 90_000
    while (child.exitCode === null && !said.includes('the end\n') && Date.now() < deadline) {
      await pause(200)
      said = readFileSync(inFolder('said'), 'utf8')
    }
    expect([child.exitCode, shell.stderr], said).toEqual([null, expect.any(String)])
  }, 100_000)
  afterAll(async () => {
    if (shell?.child.pid !== undefined) process.kill(-shell.child.pid, 'SIGTERM')
    await shell?.exit
    folder[Symbol.dispose]()
  })

  async function postern(...args: string[]) {
    const env = {
      POSTERN_HOME: inFolder('home'),
      POSTERN_EDGE_DATA: inFolder('edge'),
      POSTERN_CA: inFolder('edge/ca/ca.pem'),
    }
    const running = start('postern', args, { env, cwd: folder.path })
    running.child.stdin?.end()
    return { exit: await running.exit, out: running.stdout, err: running.stderr }
  }
  async function done(...args: string[]): Promise<string> {
    const { exit, out, err } = await postern(...args)
    expect([exit, err.match(/\([A-Z_]+[,)].*/)?.[0]], err).toEqual([0, undefined])
    return out
  }
  async function curl(cert?: string) {
    const url = `https://builds.localhost:${edge}/`
    const shown = cert === undefined ? [] : ['--cert', cert]
    const args = ['-sS', '-w', '\n%{http_code}', '--cacert', inFolder('edge/ca/ca.pem'), ...shown, url]
    const running = new Running(spawn('curl', args, { cwd: folder.path, stdio: ['ignore', 'pipe', 'pipe'] }), 'curl')
    await running.exit
    const [body = '', status] = running.stdout.split(/\n(?=\d+$)/)
    return { status: Number(status), body }
  }
  const serviceToken = async () => {
    const { id } = JSON.parse(await done('admin', 'service-token', 'info', 'builder', '--json'))
    return ['--id', id as string, '--secret-file', inFolder('builder-secret')]
  }
  const request = async (name: string, ...more: string[]) =>
    postern('cert', 'request', `builds.localhost:${edge}`, '--out', name, ...(await serviceToken()), ...more)
  const renew = (name: string, ...more: string[]) =>
    postern('cert', 'renew', `builds.localhost:${edge}`, '--cert', name, ...more)

  it('works as it is written, word for word', () => {
    expect(said).toContain('built\n')
    expect(said).toMatch(/ci\.pem has certificate and key/)
    expect(said).toMatch(/nothing to do: .*ci\.pem is good until/)
    expect(said).toMatch(/ci\.pem is renewed: good until/)
    expect(said).toMatch(/one certificate is revoked/)
    expect(said).toMatch(/certificate\.issue actor="postern:mtls ci/)
    expect(statSync(inFolder('ci.pem')).mode & 0o777).toBe(0o600)
  })

  it('row 87: the revoked certificate is refused, by the edge and for its renewal; nobody is let in without one', async () => {
    expect(await curl('ci.pem')).toMatchObject({ status: 403, body: expect.stringContaining('CERTIFICATE_REVOKED') })
    expect((await renew('ci.pem', '--before', '2h')).exit).toBe(17)
    expect((await curl()).status).toBe(401)
  })

  it('another one is had, into a new file; a file that is there stays as it is', async () => {
    const before = readFileSync(inFolder('ci.pem'), 'utf8')
    const again = await request('ci.pem')
    expect([again.exit, again.err]).toEqual([72, expect.stringContaining('is there already')])
    expect(readFileSync(inFolder('ci.pem'), 'utf8')).toBe(before)
    expect((await request('ci-2.pem')).exit).toBe(0)
    expect(await curl('ci-2.pem')).toEqual({ status: 200, body: 'built\n' })
  })

  it('who may not ask gets nothing, and no file', async () => {
    await done('admin', 'service-token', 'create', 'stranger', '--out', inFolder('stranger-secret'))
    const { id } = JSON.parse(await done('admin', 'service-token', 'info', 'stranger', '--json'))
    const hostname = `builds.localhost:${edge}`
    const secret = ['--id', id, '--secret-file', inFolder('stranger-secret')]
    const refused = await postern('cert', 'request', hostname, '--out', 'not.pem', ...secret)
    expect([refused.exit, existsSync(inFolder('not.pem'))]).toEqual([14, false])
    const unknown = await request('not.pem', '--authority', 'nowhere')
    expect([unknown.exit, existsSync(inFolder('not.pem'))]).toEqual([20, false])
    const long = await request('not.pem', '--expires-in', '100d')
    expect([long.exit, existsSync(inFolder('not.pem'))]).toEqual([2, false])
  })

  it('row 94: a file that others can read is not renewed', async () => {
    chmodSync(inFolder('ci-2.pem'), 0o644)
    const refused = await renew('ci-2.pem', '--before', '2h')
    expect([refused.exit, refused.err]).toEqual([5, expect.stringContaining('chmod 600')])
    chmodSync(inFolder('ci-2.pem'), 0o600)
    expect((await renew('ci-2.pem', '--before', '2h')).exit).toBe(0)
  })

  it('a CA is rotated under who has certificates, and none of them notices until the old one is retired', async () => {
    const old = JSON.parse(await done('admin', 'ca', 'show', 'ci', '--json')).certificates[0].fingerprint as string
    expect((await request('before.pem')).exit).toBe(0)
    await done('admin', 'ca', 'rotate', 'ci')
    expect((await curl('before.pem')).status).toBe(200)
    expect((await request('after.pem')).exit).toBe(0)
    expect((await curl('after.pem')).status).toBe(200)
    expect(JSON.parse((await renew('before.pem', '--before', '2h', '--json')).out)).toMatchObject({ renewed: true })
    expect((await request('left.pem')).exit).toBe(0)
    await done('admin', 'ca', 'retire', 'ci', old)
    for (const name of ['before.pem', 'after.pem', 'left.pem']) expect((await curl(name)).status).toBe(200)
    expect((await curl('ci-2.pem')).status).not.toBe(200)
  })

  it.skipIf(noOpenssl)(
    'an administrator issues for a request that openssl made, and it works with the key where it was made',
    async () => {
      const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', 'printer.key']
      const made = spawn('openssl', ['req', '-new', ...key, '-subj', '/CN=x', '-out', 'printer.csr'], {
        cwd: folder.path,
      })
      expect(await new Running(made, 'openssl').exit).toBe(0)
      const issue = ['--authority', 'ci', '--csr', inFolder('printer.csr'), '--common-name', 'printer']
      await done(
        'admin',
        'certificate',
        'issue',
        ...issue,
        '--san',
        'dns:printer.example.com',
        '--out',
        inFolder('printer.crt'),
      )
      const leaf = new X509Certificate(readFileSync(inFolder('printer.crt')))
      expect([leaf.subject, leaf.subjectAltName]).toEqual(['CN=printer', 'DNS:printer.example.com'])
      writeFileSync(
        inFolder('printer.pem'),
        readFileSync(inFolder('printer.crt'), 'utf8') + readFileSync(inFolder('printer.key'), 'utf8'),
      )
      expect((await curl('printer.pem')).status).toBe(200)
    },
  )

  it('row 67: revoking the service token ends all that it was given', async () => {
    expect((await curl('after.pem')).status).toBe(200)
    await done('admin', 'service-token', 'revoke', 'builder')
    expect(await curl('after.pem')).toMatchObject({ status: 403, body: expect.stringContaining('CERTIFICATE_REVOKED') })
    expect((await renew('after.pem', '--before', '2h')).exit).toBe(17)
    if (!noOpenssl) expect((await curl('printer.pem')).status).toBe(200)
  })
})
