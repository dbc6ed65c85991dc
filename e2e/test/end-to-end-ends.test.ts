import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { keyFingerprint } from '@postern/connector'
import { writeJson } from '@postern/connector/files'
import { createConnector, createIdentity, createSetupAuthority, signConnector } from '@postern/connector/issue'
import { initialiseEdge, type RunningEdge, startEdge } from '@postern/edge'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { quiet } from '../world/lab.ts'
import { startOlderEdge } from '../world/older-edge.ts'
import { echoThenTail, type Origin, startOrigin } from '../world/origin.ts'
import { type Running, start } from '../world/program.ts'

const TUNNEL = 'home'
const APP = 'db.localhost'
const TEAM = 'edge.localhost'
const TAIL = 't'.repeat(1000)

/** Exit statuses of docs/errors.md. */
const [MODE_FORBIDDEN, ACCESS_ENDED] = [29, 42]

describe('end-to-end sessions and their ends, keys and daemons, with the programs themselves', {
  timeout: 90_000,
}, () => {
  const folder = mkdtempSync(join(tmpdir(), 'postern-ends-'))
  const data = join(folder, 'edge')
  const running = new Set<Running>()
  let origin: Origin
  let edge: RunningEdge
  let caFile: string
  let identity: Awaited<ReturnType<typeof createIdentity>>
  let fingerprint: string

  const keep = (program: Running): Running => {
    running.add(program)
    return program
  }
  const call = { signal: new AbortController().signal, log: quiet }
  const team = () => `https://${TEAM}:${edge.port}`
  const home = (name: string) => ({ env: { POSTERN_HOME: join(folder, name) } })
  /** Somebody with a token of their own. */
  async function visitor(name: string) {
    const { id, secret } = await edge.administration.call('service-token.create', { body: { name } })
    const file = join(folder, `${name}-secret`)
    writeFileSync(file, secret, { mode: 0o600 })
    const placeOf = (port: number, ca: string) =>
      ['--hostname', `${APP}:${port}`, '--id', id, '--secret-file', file, '--ca', ca] as const
    const place = placeOf(edge.port, caFile)
    const tcp = ['access', 'tcp', '--url', '127.0.0.1:0', '--json']
    return {
      access: (...more: readonly string[]) => keep(start('postern', [...tcp, ...place, ...more], home(name))),
      accessAt: (port: number, ca: string, ...more: readonly string[]) =>
        keep(start('postern', [...tcp, ...placeOf(port, ca), ...more], home(name))),
      pipe: (...more: readonly string[]) => keep(start('postern', ['access', 'ssh', ...place, ...more], home(name))),
      revoke: () => edge.administration.call('service-token.revoke', { params: { token: id } }),
    }
  }
  /** One connection through a forward, which is open. */
  async function open(access: Running): Promise<Socket> {
    const [, port] = await access.says(/"address":"127\.0\.0\.1:(\d+)"/)
    const socket = connect(Number(port), '127.0.0.1')
    socket.on('error', () => {}).resume()
    await once(socket, 'data')
    return socket
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
  function serve(name: string, { mode, state }: { mode?: string; state?: string } = {}): Running {
    const config = join(folder, `${name}.yaml`)
    const ingress = [{ hostname: APP, service: `tcp://127.0.0.1:${origin.port}`, ...(mode && { mode }) }]
    writeFileSync(config, JSON.stringify({ edge: team(), ca: caFile, ingress }), { mode: 0o600 })
    const { env } = home(name)
    const own = { ...env, ...(state && { STATE_DIRECTORY: state }) }
    return keep(start('posternd', ['run', '--config', config], { env: own }))
  }
  const credentialsOf = (name: string) => JSON.parse(readFileSync(join(folder, name, 'connector.json'), 'utf8'))
  /** What posternd login leaves; that it does, connector-certificates.test.ts shows. */
  async function enrol(name: string): Promise<void> {
    const one = await createConnector()
    const certificate = await signConnector(identity, TUNNEL, one)
    const body = { certificate, host: one.host }
    const { token, grantKeys } = await edge.administration.call('connector.enrol', { params: { name: TUNNEL }, body })
    await writeJson(join(folder, name, 'connector.json'), {
      ...{ version: 1, edge: team(), ca: readFileSync(caFile, 'utf8'), tunnel: TUNNEL, connector: one.id },
      ...{ token, certificate, key: one.key, identity: identity.cert, ...(grantKeys && { grantKeys }) },
    })
  }
  const rotate = async () => {
    const rotating = keep(start('postern', ['admin', 'key', 'rotate', '--grants', '--data', data], home('admin')))
    expect([await rotating.exit, rotating.stderr]).toEqual([0, ''])
  }

  beforeAll(async () => {
    origin = await startOrigin(echoThenTail)
    caFile = (await initialiseEdge({ data, teamDomain: TEAM }, call)).caFile
    edge = await startEdge({ data, listen: { port: 0 }, grace: 500 }, call)
    identity = await createIdentity(TUNNEL)
    fingerprint = keyFingerprint(identity.key)
    await edge.administration.call('tunnel.create', { body: { name: TUNNEL, identity: identity.cert } })
    const rules = [{ name: 'machines', action: 'service', include: [{ anyServiceToken: true }] }]
    await edge.administration.call('application.create', { body: { hostname: APP, tunnel: TUNNEL, rules } } as never)
  }, 60_000)
  afterAll(async () => {
    await Promise.all([...running].map(one => one.stop('SIGKILL')))
    await edge?.close()
    await origin?.[Symbol.asyncDispose]()
    rmSync(folder, { recursive: true, force: true })
  })

  it('a daemon of a setup token serves end-to-end, with the pin of the tunnel; its token’s file is gone', async () => {
    const one = await createConnector()
    const { cert, key } = await createSetupAuthority(identity, TUNNEL, one.id)
    const { administration } = edge
    const { token } = await administration.call('connector-setup.create', {
      params: { name: TUNNEL },
      body: { authority: cert, expiresInSeconds: 600 },
    })
    const file = join(folder, 'setup')
    const setup = { version: 1, edge: team(), ca: readFileSync(caFile, 'utf8'), tunnel: TUNNEL, token } as const
    await writeJson(file, { ...setup, authority: cert, authorityKey: key, identity: identity.cert })
    mkdirSync(join(folder, 'machine'), { mode: 0o700 })
    const login = keep(start('posternd', ['login', '--setup-token', file], home('machine')))
    expect([await login.exit, login.stderr]).toEqual([0, expect.stringContaining('used up')])
    expect([existsSync(file), credentialsOf('machine').connector]).toEqual([false, one.id])
    const daemon = serve('machine')
    await daemon.says(/connected to the edge/)
    await daemon.says(new RegExp(fingerprint))
    const ann = await visitor('ann')
    const access = ann.access('--end-to-end', '--pin', fingerprint)
    expect(await visit(access)).toBe(`HELLO\nabc${TAIL}`)
    await access.stop()
    await daemon.stop()
    // The twin, of a setup token from before: no authority, and all goes through the edge, which is said.
    const { authority: _, identity: __, grantKeys: ___, ...old } = credentialsOf('machine')
    await writeJson(join(folder, 'older', 'connector.json'), old)
    const older = serve('older')
    await older.says(/of an older login: no end-to-end sessions.*posternd login/)
    await older.says(/connected to the edge/)
    const hop = ann.access()
    expect(await visit(hop)).toBe(`HELLO\nabc${TAIL}`)
    await hop.stop()
    expect(await ann.access('--end-to-end').exit).toBe(MODE_FORBIDDEN)
    await older.stop()
  })

  it.each(['websocket', 'tls'])('row 67: who is put out hears why within five seconds, by %s', async transport => {
    if (!existsSync(join(folder, 'daemon'))) await enrol('daemon')
    const daemon = serve('daemon')
    await daemon.says(/connected to the edge/)
    const bob = await visitor(`bob-${transport}`)
    const access = bob.access('--end-to-end', '--transport', transport)
    const pipe = bob.pipe('--end-to-end', '--transport', transport)
    const socket = await open(access)
    await pipe.says(/HELLO/)
    const began = performance.now()
    const cut = new Promise(resolve => socket.once('close', resolve))
    await bob.revoke()
    await Promise.all([cut, pipe.exit, access.says(/"event":"lost".*"code":"ACCESS_ENDED"/)])
    expect(performance.now() - began).toBeLessThan(5000)
    expect(access.stdout).toContain('the credential was revoked')
    expect([await pipe.exit, pipe.stderr]).toEqual([
      ACCESS_ENDED,
      expect.stringContaining('the credential was revoked'),
    ])
    await access.stop()
    await expect.poll(() => origin.open.size).toBe(0)
    await daemon.stop()
  })

  it('row 151: a daemon that says nothing delays no cut', async () => {
    const daemon = serve('daemon')
    await daemon.says(/connected to the edge/)
    const eve = await visitor('eve')
    const pipe = eve.pipe('--end-to-end')
    await pipe.says(/HELLO/)
    daemon.child.kill('SIGSTOP')
    try {
      const began = performance.now()
      await eve.revoke()
      expect(await pipe.exit).not.toBe(0)
      expect(performance.now() - began).toBeLessThan(5000)
    } finally {
      daemon.child.kill('SIGCONT')
    }
    await daemon.stop()
  })

  it.each([
    ['its credentials', 'daemon'],
    ['the folder of a service', 'service'],
  ])('keys of grants: rotated again and again with a daemon up, which keeps them in %s', async (_where, name) => {
    if (!existsSync(join(folder, name))) await enrol(name)
    const dan = await visitor(`dan-${name}`)
    const state = join(folder, 'state')
    mkdirSync(state, { recursive: true, mode: 0o700 })
    const lent = readFileSync(join(folder, name, 'connector.json'), 'utf8')
    const sequenceOf = () => {
      if (name === 'daemon') return credentialsOf(name).grantKeys.sequence ?? 0
      const file = join(state, `grant-keys-${credentialsOf(name).connector}.json`)
      return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).grantKeys.sequence : 0
    }
    const up = async () => {
      const daemon = serve(name, name === 'service' ? { state } : {})
      await daemon.says(/connected to the edge/)
      return daemon
    }
    const works = async () => {
      const access = dan.access('--end-to-end')
      expect(await visit(access)).toBe(`HELLO\nabc${TAIL}`)
      await access.stop()
    }
    let daemon = await up()
    for (let n = 0; n < 2; n += 1) await rotate()
    await works()
    await rotate()
    await works()
    const sequence = sequenceOf()
    expect(sequence).toBeGreaterThan(0)
    await daemon.stop()
    // Away for one.
    await rotate()
    daemon = await up()
    await works()
    await expect.poll(sequenceOf).toBeGreaterThan(sequence)
    if (name === 'service') expect(readFileSync(join(folder, name, 'connector.json'), 'utf8')).toBe(lent)
    await daemon.stop()
  })

  it('keys of grants: a daemon that was away for two rotations says what to do, and who does not insist is served', async () => {
    await rotate()
    await rotate()
    const daemon = serve('daemon')
    await daemon.says(/replaced twice.*posternd login --edge https:\S+ --tunnel home/)
    const fay = await visitor('fay')
    const hop = fay.access()
    expect(await visit(hop)).toBe(`HELLO\nabc${TAIL}`)
    await hop.stop()
    const insists = fay.access('--end-to-end')
    expect(await insists.exit).toBe(MODE_FORBIDDEN)
    const pinned = fay.access('--pin', fingerprint)
    expect(await pinned.exit).toBe(MODE_FORBIDDEN)
    await daemon.stop()
    // Logged in again, it is as before.
    await enrol('daemon')
    const again = serve('daemon', { mode: 'end-to-end' })
    await again.says(/connected to the edge/)
    const access = fay.access('--end-to-end')
    expect(await visit(access)).toBe(`HELLO\nabc${TAIL}`)
    await access.stop()
    await again.stop()
  })

  it.each(['websocket', 'auto'])('an edge that knows no joins serves who does not insist, by %s', async transport => {
    const daemon = serve('daemon')
    await daemon.says(/connected to the edge/)
    await using older = await startOlderEdge(edge.port, readFileSync(caFile, 'utf8'), APP)
    const olderCa = join(folder, 'older-ca.pem')
    writeFileSync(olderCa, older.ca)
    const hal = await visitor(`hal-${transport}`)
    const there = (...more: readonly string[]) => hal.accessAt(older.port, olderCa, '--transport', transport, ...more)
    const access = there()
    expect(await visit(access)).toBe(`HELLO\nabc${TAIL}`)
    expect(older.asked()).toBe(1)
    await access.stop()
    const insists = there('--end-to-end')
    expect([await insists.exit, insists.stderr]).toEqual([MODE_FORBIDDEN, expect.stringContaining('Update the edge')])
    // Who was at one that knows them has it pinned: it did not grow older.
    const newer = hal.access()
    expect(await visit(newer)).toBe(`HELLO\nabc${TAIL}`)
    await newer.stop()
    const pinned = there()
    expect([await pinned.exit, pinned.stderr]).toEqual([MODE_FORBIDDEN, expect.stringContaining('is pinned here')])
    await daemon.stop()
  })

  it('an edge that stops says so at the client', async () => {
    const daemon = serve('daemon')
    await daemon.says(/connected to the edge/)
    const gus = await visitor('gus')
    const pipe = gus.pipe('--end-to-end')
    await pipe.says(/HELLO/)
    await edge.close()
    expect([await pipe.exit, pipe.stderr]).toEqual([46, expect.stringContaining('DRAINING')])
  })
})
