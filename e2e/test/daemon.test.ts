import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { freePort } from '@postern/dev'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { echoThenTail, type Origin, startOrigin } from '../world/origin.ts'
import { Running, scriptOf, start } from '../world/program.ts'
import { startWorld, type World } from '../world/world.ts'

let origin: Origin
let world: World
let metrics: string
beforeAll(async () => {
  origin = await startOrigin(echoThenTail)
  world = await startWorld({ hostname: 'db.localhost', service: `tcp://127.0.0.1:${origin.port}` })
  await world.daemon.stop() // each test starts its own
  metrics = `127.0.0.1:${await freePort()}`
})
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
  await origin?.[Symbol.asyncDispose]()
})

const tokenFile = () => join(world.folder, 'secrets', 'tunnel')
const token = () => readFileSync(tokenFile(), 'utf8')

/** The environment of a container, and no flag at all. */
function containerised(more: NodeJS.ProcessEnv = {}): Running {
  const { HOME, PATH } = process.env
  const child = spawn(process.execPath, [scriptOf('posternd')], {
    env: {
      HOME,
      PATH,
      TUNNEL_URL: `tcp://127.0.0.1:${origin.port}`,
      TUNNEL_HOSTNAME: 'db.localhost',
      TUNNEL_EDGE: `https://edge.localhost:${world.port}`,
      TUNNEL_CACERT: world.trust[1],
      TUNNEL_TOKEN_FILE: tokenFile(),
      TUNNEL_METRICS: metrics,
      ...more,
    },
  })
  return new Running(child, 'posternd')
}

async function ask(path: string): Promise<{ status: number; text: string }> {
  const response = await fetch(`http://${metrics}${path}`)
  return { status: response.status, text: await response.text() }
}

const ready = (): Running => start('posternd', ['ready'], { env: { TUNNEL_METRICS: metrics } })

/** A user’s connection, open until it is ended: it has heard the service. */
async function user(): Promise<Running> {
  const running = world.access('tcp')
  await running.says(/HELLO/)
  return running
}

describe('posternd as a container runs it', () => {
  it('by its environment alone: it serves, says what it proxies, is ready, and counts', async () => {
    const daemon = containerised()
    try {
      await daemon.says(/connected to the edge/)
      expect(daemon.stderr).toContain(`db.localhost → tcp://127.0.0.1:${origin.port}`)
      const running = world.access('tcp')
      running.child.stdin?.end('abc')
      expect([await running.exit, running.stdout]).toEqual([0, `HELLO\nabc${'t'.repeat(1000)}`])
      expect((await ask('/healthz')).status).toBe(200)
      const { readyConnections } = JSON.parse((await ask('/ready')).text)
      expect(readyConnections).toBeGreaterThan(0)
      const health = ready()
      expect(await health.exit).toBe(0)
      const { text } = await ask('/metrics')
      expect(text).toContain('posternd_streams_total{hostname="db.localhost"} 1\n')
      expect(text).toContain('posternd_service_sent_bytes_total{hostname="db.localhost"} 3\n')
      expect(text).toContain('posternd_service_received_bytes_total{hostname="db.localhost"} 1009\n')
      expect(text).toContain('posternd_service_connect_seconds_count{hostname="db.localhost"} 1\n')
      for (const told of [text, daemon.stdout, daemon.stderr]) expect(told).not.toContain(token())
      if (process.platform === 'linux')
        expect(readFileSync(`/proc/${daemon.child.pid}/cmdline`, 'utf8')).not.toContain(token())
    } finally {
      expect(await daemon.stop()).toBe(0)
    }
  })

  it('the container’s secret open to others: it says so, and does not start', async () => {
    const file = join(world.folder, 'open-token')
    writeFileSync(file, token(), { mode: 0o644 })
    const daemon = containerised({ TUNNEL_TOKEN_FILE: file })
    expect(await daemon.exit).toBe(5)
    expect(daemon.stderr).toContain('FILE_UNSAFE')
  })

  it('the edge away: alive but not ready, until it comes', async () => {
    await world.edge.stop('SIGKILL')
    const daemon = containerised()
    try {
      await daemon.says(/no connection to the edge/)
      expect((await ask('/healthz')).status).toBe(200)
      expect((await ask('/ready')).status).toBe(503)
      const health = ready()
      expect(await health.exit).toBe(30)
      expect((await ask('/metrics')).text).toMatch(/edge_connection_failures_total\{code="EDGE_UNREACHABLE"\} \d/)
      await world.startEdge()
      await daemon.says(/connected to the edge/)
      expect((await ask('/ready')).status).toBe(200)
    } finally {
      await daemon.stop()
    }
  })

  it('the port for metrics taken: it says so before it dials', async () => {
    const [host, port] = metrics.split(':')
    const other = createServer().listen(Number(port), host)
    const daemon = containerised()
    expect(await daemon.exit).toBe(4)
    expect(daemon.stderr).toContain('LISTEN_FAILED')
    expect(daemon.stderr).not.toContain('connect') // neither connected nor refused: it did not dial
    await new Promise(resolve => other.close(resolve))
  })
})

describe('posternd with a config file', () => {
  it('counts how often it was read again, and how often in vain', async () => {
    const file = join(world.folder, 'posternd.yaml')
    const rules = (name: string) =>
      writeFileSync(
        file,
        `metrics: ${metrics}\ningress:\n  - hostname: ${name}\n    service: tcp://127.0.0.1:${origin.port}\n`,
      )
    const env = {
      TUNNEL_EDGE: `https://edge.localhost:${world.port}`,
      TUNNEL_CACERT: world.trust[1],
      TUNNEL_TOKEN_FILE: tokenFile(),
    }
    rules('db.localhost')
    const daemon = start('posternd', ['run', '--config', file], { env })
    try {
      await daemon.says(/connected to the edge/)
      const reloads = async (result: string) =>
        new RegExp(`posternd_config_reloads_total\\{result="${result}"\\} (\\d+)`).exec(
          (await ask('/metrics')).text,
        )?.[1]
      expect([await reloads('ok'), await reloads('failed')]).toEqual(['0', '0'])
      rules('not a hostname')
      await daemon.says(/was not taken/)
      expect(Number(await reloads('failed'))).toBeGreaterThan(0)
      expect(await reloads('ok')).toBe('0')
      expect((await ask('/ready')).status).toBe(200)
      rules('other.localhost')
      await daemon.says(/was read again/)
      expect(Number(await reloads('ok'))).toBeGreaterThan(0)
    } finally {
      expect(await daemon.stop()).toBe(0)
    }
  })
})

describe('row 138: a stop', () => {
  it('with a stream open: not ready any more, and it ends when the stream does', async () => {
    const daemon = containerised()
    await daemon.says(/connected to the edge/)
    const running = await user()
    daemon.child.kill('SIGTERM')
    await daemon.says(/stopping/)
    expect((await ask('/ready')).status).toBe(503)
    expect((await ask('/metrics')).text).toContain('\nposternd_draining 1\n')
    expect(daemon.child.exitCode).toBe(null)
    running.child.stdin?.end('late')
    expect([await running.exit, running.stdout]).toEqual([0, `HELLO\nlate${'t'.repeat(1000)}`])
    expect(await daemon.exit).toBe(0)
  })

  it('with a stream that does not end: the grace period ends it', async () => {
    const daemon = containerised({ TUNNEL_GRACE_PERIOD: '500ms' })
    await daemon.says(/connected to the edge/)
    const running = await user()
    const began = performance.now()
    daemon.child.kill('SIGTERM')
    expect(await daemon.exit).toBe(0)
    expect(performance.now() - began).toBeGreaterThanOrEqual(500)
    expect(daemon.stderr).toContain('ending streams that were still open')
    expect(await running.exit).not.toBe(0) // the user is not told that all is well
  })

  it('with nothing open: at once, though the grace period is an hour', async () => {
    const daemon = containerised({ TUNNEL_GRACE_PERIOD: '1h' })
    await daemon.says(/connected to the edge/)
    daemon.child.kill('SIGTERM')
    expect(await daemon.exit).toBe(0)
  })

  it('a second signal: at once, whatever is open', async () => {
    const daemon = containerised({ TUNNEL_GRACE_PERIOD: '1h' })
    await daemon.says(/connected to the edge/)
    const running = await user()
    daemon.child.kill('SIGTERM')
    await daemon.says(/stopping/)
    daemon.child.kill('SIGTERM')
    expect(await daemon.exit).toBe(0)
    expect(await running.exit).not.toBe(0)
  })
})

describe('a stop before there is anything to stop', () => {
  it('ends it while a way of signing in still waits, for stdin or for a person', async () => {
    const folder = join(world.folder, 'waits')
    mkdirSync(folder, { mode: 0o700 })
    const entry = { kind: 'auth', name: 'waits', summary: 'never ready', options: {}, client: './client.js' }
    const manifest = { name: 'waits', version: '1.0.0', type: 'module', postern: { api: 1, plugins: [entry] } }
    writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest))
    writeFileSync(
      join(folder, 'client.js'),
      `export default { api: 1, kind: 'auth', side: 'client', name: 'waits', options: {}, create: () => {
        console.error('waiting')
        return new Promise(() => setInterval(() => {}, 1000))
      } }`,
    )
    const daemon = world.daemonWith(['--plugin', folder, '--auth', 'waits'])
    await daemon.says(/waiting/)
    daemon.child.kill('SIGTERM')
    expect([await daemon.exit, daemon.stderr]).toEqual([0, 'waiting\n'])
  })
})

describe('row 103: a token in sight', () => {
  it('as an argument: it works, and a warning says who can read it and what to use instead', async () => {
    const daemon = world.daemonWith(['--token', token()])
    await daemon.says(/connected to the edge/)
    expect(daemon.stderr).toMatch(/--token on the command line can be read by every user .* use --token-file/)
    expect(daemon.stderr).not.toContain(token())
    if (process.platform === 'linux') {
      const shown = readFileSync(`/proc/${daemon.child.pid}/cmdline`, 'utf8')
      expect(shown).toContain('posternd')
      expect(shown).not.toContain(token()) // once it was read
    }
    expect(await daemon.stop()).toBe(0)
  })

  it('as a file or a variable: no warning', async () => {
    for (const env of [{}, { TUNNEL_TOKEN_FILE: '', TUNNEL_TOKEN: token() }]) {
      const daemon = containerised(env)
      await daemon.says(/connected to the edge/)
      expect(daemon.stderr).not.toContain('can be read by every user')
      if (process.platform === 'linux')
        // nothing had to be hidden
        expect(readFileSync(`/proc/${daemon.child.pid}/cmdline`, 'utf8')).toContain('bin/posternd.js')
      expect(await daemon.stop()).toBe(0)
    }
  })

  it.skipIf(process.platform !== 'linux')('nobody inherits it: the daemon has no children', async () => {
    const daemon = containerised({ TUNNEL_TOKEN_FILE: '', TUNNEL_TOKEN: token() })
    await daemon.says(/connected to the edge/)
    const running = await user()
    const { pid } = daemon.child
    expect(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')).toBe('')
    running.child.stdin?.end()
    await running.exit
    await daemon.stop()
  })
})
