import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type JoinedWorld, startJoined } from '../world/joined.ts'
import { type Onlooker, startOnlooker } from '../world/onlooker.ts'
import { echoThenTail, type Origin, startOrigin } from '../world/origin.ts'
import { type Running, start } from '../world/program.ts'

const APP = 'db.localhost'
const MARKER = 'what only the two ends may read'

describe('a ticket that somebody sees and uses first, with the programs themselves', { timeout: 60_000 }, () => {
  let origin: Origin
  let world: JoinedWorld
  let onlooker: Onlooker
  let daemon: Running
  const running: Running[] = []

  beforeAll(async () => {
    origin = await startOrigin(echoThenTail)
    world = await startJoined({ here: true, apps: { [APP]: { service: `tcp://127.0.0.1:${origin.port}` } } })
    onlooker = await startOnlooker(world.port)
    await world.daemon().stop('SIGTERM')
  })
  afterAll(async () => {
    await Promise.all(running.map(one => one.stop('SIGKILL')))
    await onlooker?.[Symbol.asyncDispose]()
    await world?.[Symbol.asyncDispose]()
    await origin?.[Symbol.asyncDispose]()
  })
  afterEach(() => {
    onlooker.told.length = 0
    Object.assign(onlooker.take, { client: 0, daemon: 0 })
  })

  /** A daemon whose every connection somebody looks at; a new one has forgotten what did not work. */
  async function startDaemon(): Promise<void> {
    await daemon?.stop('SIGKILL')
    const { home = '' } = world.tunnels.get('home') ?? {}
    const edge = `https://edge.localhost:${onlooker.port}`
    const credentials = join(home, 'connector.json')
    writeFileSync(credentials, JSON.stringify({ ...JSON.parse(readFileSync(credentials, 'utf8')), edge }), {
      mode: 0o600,
    })
    const config = join(home, 'posternd.yaml')
    writeFileSync(config, JSON.stringify({ ...JSON.parse(readFileSync(config, 'utf8')), edge }), { mode: 0o600 })
    const args = ['run', '--config', config, '--log-level', 'debug', '--grace-period', '1s']
    daemon = start('posternd', args, { env: { POSTERN_HOME: home } })
    running.push(daemon)
    await daemon.says(/connected to the edge/)
  }

  /** Says something to the service and hears it again. @returns what the client logged */
  async function says(): Promise<string> {
    const args = ['access', 'tcp', '--hostname', `${APP}:${onlooker.port}`, ...world.flags(APP), '--log-level', 'debug']
    const client = start('postern', args, { env: { POSTERN_HOME: join(world.folder, 'client') } })
    running.push(client)
    client.child.stdin?.end(MARKER)
    expect([await client.exit, client.stderr]).toEqual([0, expect.any(String)])
    expect(client.stdout).toContain(MARKER)
    return client.stderr
  }

  const raced = async () => {
    const rows = await world.here.store.readAudit({ most: 50, action: 'join.raced' })
    return rows.map(({ code, hostname, detail }) => ({
      code,
      hostname,
      ...(detail as { leg: string; first: string; second: string }),
    }))
  }
  const row = (leg: string) => ({
    code: 'TICKET_RACED',
    hostname: APP,
    leg,
    first: onlooker.address,
    second: '127.0.0.1',
  })

  it('nobody does: both legs are bare, and what is said is read by nobody', async () => {
    await startDaemon()
    const said = await says()
    expect(said).toMatch(/a session begins .*transport=tls mode=end-to-end/)
    expect(await raced()).toEqual([])
  })

  it('the client’s, once: its next go has a ticket of its own', async () => {
    onlooker.take.client = 1
    expect(await says()).toMatch(/a session begins .*transport=tls mode=end-to-end/)
    await expect.poll(raced).toEqual([row('client')])
    expect(Buffer.concat(onlooker.told).includes(MARKER)).toBe(false)
  })

  it('the client’s, every time: after two goes it is WebSocket, in the same mode', async () => {
    onlooker.take.client = 9
    expect(await says()).toMatch(/a session begins .*transport=websocket mode=end-to-end/)
    expect(onlooker.take.client).toBe(7)
    await expect.poll(raced).toEqual([row('client'), row('client'), row('client')])
    expect(Buffer.concat(onlooker.told).includes(MARKER)).toBe(false)
  })

  it('the daemon’s, every time: it comes by WebSocket from then on, in the same mode', async () => {
    await startDaemon()
    onlooker.take.daemon = 9
    expect(await says()).toMatch(/a session begins .*mode=end-to-end/)
    await expect.poll(async () => (await raced()).filter(({ leg }) => leg === 'daemon')).toContainEqual(row('daemon'))
    expect(Buffer.concat(onlooker.told).includes(MARKER)).toBe(false)
  })
})
