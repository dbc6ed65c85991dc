import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { keyFingerprint } from '@postern/connector'
import { writeJson } from '@postern/connector/files'
import { createConnector, createIdentity, signConnector } from '@postern/connector/issue'
import { initialiseEdge, type RunningEdge, startEdge } from '@postern/edge'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { quiet } from '../world/lab.ts'
import { echoThenTail, type Origin, startOrigin } from '../world/origin.ts'
import { type Running, run, start } from '../world/program.ts'
import { startSshOrigin, writeSshConfig } from '../world/ssh.ts'

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')
const hasSsh = ['ssh', 'sshd'].every(name => peers.includes(name))
const TUNNEL = 'home'
const APP = 'db.localhost'
const SHELL = 'ssh.localhost'
const TEAM = 'edge.localhost'
const TAIL = 't'.repeat(1000)

/** Exit statuses of docs/errors.md. */
const [MODE_FORBIDDEN, TUNNEL_KEY_CHANGED] = [29, 39]

describe('end-to-end sessions, with the programs themselves', { timeout: 60_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'postern-end-to-end-'))
  const running = new Set<Running>()
  let origin: Origin
  let shell: Awaited<ReturnType<typeof startSshOrigin>> | undefined
  let edge: RunningEdge
  let caFile: string
  let fingerprint: string
  let tokenId: string
  let daemon: Running
  const config = join(folder, 'posternd.yaml')
  const secret = join(folder, 'secret')

  const keep = (program: Running): Running => {
    running.add(program)
    return program
  }
  const call = { signal: new AbortController().signal, log: quiet }
  const team = () => `https://${TEAM}:${edge.port}`
  const credential = () => ['--id', tokenId, '--secret-file', secret, '--ca', caFile]
  const postern = (home: string, ...args: readonly string[]) =>
    keep(start('postern', ['access', ...args], { env: { POSTERN_HOME: join(folder, home) } }))
  const tcp = (home: string, ...more: readonly string[]) =>
    postern(
      ...([home, 'tcp', '--hostname', `${APP}:${edge.port}`, '--url', '127.0.0.1:0', '--json'] as const),
      ...credential(),
      ...more,
    )
  const pinned = async (home: string, ...more: readonly string[]) => {
    const asked = postern(home, 'pin', '--hostname', APP, '--json', ...more)
    expect(await asked.exit).toBe(0)
    return JSON.parse(asked.stdout).fingerprint
  }
  const serve = (home: string, mode?: string) => {
    const ingress = [
      { hostname: APP, service: `tcp://127.0.0.1:${origin.port}`, ...(mode && { mode }) },
      ...(shell ? [{ hostname: SHELL, service: `ssh://127.0.0.1:${shell.port}` }] : []),
    ]
    writeFileSync(config, JSON.stringify({ edge: team(), ca: caFile, ingress }), { mode: 0o600 })
    return keep(start('posternd', ['run', '--config', config], { env: { POSTERN_HOME: join(folder, home) } }))
  }
  /** What a visitor of a forward hears, to the end or the cut. */
  async function visit(access: Running): Promise<string> {
    const [, port] = await access.says(/"address":"127\.0\.0\.1:(\d+)"/)
    const socket = connect(Number(port), '127.0.0.1')
    let heard = ''
    socket.on('data', chunk => (heard += chunk)).on('error', () => {})
    socket.end('abc')
    await once(socket, 'close')
    return heard
  }
  const audited = async (action: string) => {
    const page = await edge.administration.call('audit.list', { query: { action } })
    return page.rows
  }

  beforeAll(async () => {
    origin = await startOrigin(echoThenTail)
    if (hasSsh) shell = await startSshOrigin(folder)
    const data = join(folder, 'edge')
    caFile = (await initialiseEdge({ data, teamDomain: TEAM }, call)).caFile
    edge = await startEdge({ data, listen: { port: 0 }, grace: 500 }, call)
    const { administration } = edge
    const identity = await createIdentity(TUNNEL)
    fingerprint = keyFingerprint(identity.key)
    await administration.call('tunnel.create', { body: { name: TUNNEL, identity: identity.cert } })
    const one = await createConnector()
    const certificate = await signConnector(identity, TUNNEL, one)
    const body = { certificate, host: one.host }
    const { token, grantKeys } = await administration.call('connector.enrol', { params: { name: TUNNEL }, body })
    // What posternd login leaves; that it does, connector-certificates.test.ts shows.
    await writeJson(join(folder, 'daemon', 'connector.json'), {
      ...{ version: 1, edge: team(), ca: readFileSync(caFile, 'utf8'), tunnel: TUNNEL, connector: one.id },
      ...{ token, certificate, key: one.key, identity: identity.cert, ...(grantKeys && { grantKeys }) },
    })
    const made = await administration.call('service-token.create', { body: { name: 'visitor' } })
    tokenId = made.id
    writeFileSync(secret, made.secret, { mode: 0o600 })
    const rules = [{ name: 'machines', action: 'service', include: [{ anyServiceToken: true }] }]
    for (const hostname of [APP, SHELL])
      await administration.call('application.create', { body: { hostname, tunnel: TUNNEL, rules } } as never)
    daemon = serve('daemon')
    await daemon.says(/connected to the edge/)
  }, 60_000)
  afterAll(async () => {
    await Promise.all([...running].map(one => one.stop('SIGKILL')))
    await edge?.close()
    await shell?.[Symbol.asyncDispose]()
    await origin?.[Symbol.asyncDispose]()
    rmSync(folder, { recursive: true, force: true })
  })

  it('the daemon prints its tunnel’s fingerprint at start', async () => {
    await daemon.says(new RegExp(fingerprint))
  })

  it('a first use takes the edge’s word, says so once with the fingerprint, and pins it', async () => {
    expect(await pinned('first')).toBeNull()
    const access = tcp('first')
    expect(await visit(access)).toBe(`HELLO\nabc${TAIL}`)
    expect(access.stderr).toContain(fingerprint)
    await access.stop()
    expect(await pinned('first')).toBe(fingerprint)
    expect(statSync(join(folder, 'first', 'pins', APP)).mode & 0o777).toBe(0o600)
    const again = tcp('first')
    expect(await visit(again)).toBe(`HELLO\nabc${TAIL}`)
    expect(again.stderr).not.toContain(fingerprint)
    await again.stop()
  })

  it('--end-to-end and --pin reach it too, and the edge is told of each stream', async () => {
    const access = tcp('second', '--end-to-end', '--pin', fingerprint)
    expect(await visit(access)).toBe(`HELLO\nabc${TAIL}`)
    await access.stop()
    await expect.poll(async () => (await audited('stream.end')).length, { timeout: 10_000 }).toBeGreaterThan(2)
    const ends = await audited('stream.end')
    for (const { detail } of ends) expect(detail).toMatchObject({ service: 'tcp' })
    const sessions = await audited('session.end')
    expect(sessions.map(({ detail }) => (detail as { mode?: string }).mode)).toContain('end-to-end')
  })

  it.skipIf(!hasSsh)('ssh goes through one (needs: ssh, sshd)', async () => {
    if (!shell) throw new Error('no sshd')
    const world = {
      folder,
      hostname: SHELL,
      address: `${SHELL}:${edge.port}`,
      credential: [...credential(), '--end-to-end', '--pin', fingerprint],
      trust: [],
    }
    const file = writeSshConfig(world, shell)
    const { code, stdout, stderr } = await run('ssh', ['-F', file, SHELL, 'echo over the tunnel'])
    expect([code, stdout], stderr).toEqual([0, 'over the tunnel\n'])
  })

  it('a changed key stops the client, with both fingerprints and its own exit status', async () => {
    const other = `sha256:${'1'.repeat(64)}`
    mkdirSync(join(folder, 'changed'), { recursive: true, mode: 0o700 })
    expect(await pinned('changed', '--set', other)).toBe(other)
    const access = tcp('changed')
    expect(await access.exit).toBe(TUNNEL_KEY_CHANGED)
    expect(access.stdout + access.stderr).toContain(other)
    expect(access.stdout + access.stderr).toContain(fingerprint)
    // The twin: whoever compared them by another way says so.
    expect(await pinned('changed', '--set', fingerprint)).toBe(fingerprint)
    const allowed = tcp('changed')
    expect(await visit(allowed)).toBe(`HELLO\nabc${TAIL}`)
    await allowed.stop()
  })

  it('a rule that says hop is reached through the edge, unless one insists; one that says end-to-end is not', async () => {
    serveAgain('hop')
    await daemon.says(/changed db\.localhost → tcp:\S+, hop only/)
    const hop = tcp('third')
    expect(await visit(hop)).toBe(`HELLO\nabc${TAIL}`)
    await hop.stop()
    expect(await pinned('third')).toBeNull()
    expect(await tcp('third', '--end-to-end').exit).toBe(MODE_FORBIDDEN)
    expect(await tcp('first').exit).toBe(MODE_FORBIDDEN) // pinned above
    serveAgain('end-to-end')
    await daemon.says(/, end-to-end only \(was/)
    const both = tcp('third', '--end-to-end')
    expect(await visit(both)).toBe(`HELLO\nabc${TAIL}`)
    await both.stop()
  })
  const serveAgain = (mode: string) => {
    const { ingress, ...rest } = JSON.parse(readFileSync(config, 'utf8'))
    const changed = ingress.map((rule: { hostname: string }) => (rule.hostname === APP ? { ...rule, mode } : rule))
    writeFileSync(config, JSON.stringify({ ...rest, ingress: changed }), { mode: 0o600 })
  }

  it('whoever is put out is cut within five seconds, at both ends', async () => {
    const access = tcp('first', '--end-to-end')
    const [, port] = await access.says(/"address":"127\.0\.0\.1:(\d+)"/)
    const socket = connect(Number(port), '127.0.0.1')
    socket.on('error', () => {}).resume()
    await once(socket, 'data')
    const began = performance.now()
    const cut = new Promise(resolve => socket.once('close', resolve))
    await edge.administration.call('service-token.revoke', { params: { token: tokenId } })
    await cut
    expect(performance.now() - began).toBeLessThan(5000)
    await expect.poll(() => origin.open.size).toBe(0)
    await access.stop()
  })
})
