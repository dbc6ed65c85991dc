import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Capture, capture } from '../world/capture.ts'
import { temporaryFolder } from '../world/folder.ts'
import { type JoinedOptions, type JoinedWorld, startJoined, TRANSPORTS } from '../world/joined.ts'
import { searchMemory, stoppable } from '../world/memory.ts'
import { type Origin, startOrigin } from '../world/origin.ts'
import { run } from '../world/program.ts'
import { type SshOrigin, startSshOrigin, writeSshConfig } from '../world/ssh.ts'

// What is said end to end is nowhere at the edge; what is said through it is, which shows that one would have found it.

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')
const hasSsh = ['ssh', 'sshd'].every(name => peers.includes(name))
const canCapture = peers.includes('tcpdump') && process.getuid?.() === 0
const SECRET = 'secret.localhost'
const OPEN = 'open.localhost'
const SECRET_SHELL = 'secret-ssh.localhost'
const OPEN_SHELL = 'open-ssh.localhost'

const marker = () => `marker${randomBytes(24).toString('hex')}`

/** Both directions full of a word: somebody writes it without end, and the other end soon reads no more. */
function fillWith(socket: Socket, word: string): void {
  const chunk = Buffer.from(`${word}\n`.repeat(200))
  const more = () => {
    while (!socket.destroyed && socket.write(chunk));
  }
  socket.on('drain', more)
  more()
}

/** Reads on until a word was there, and then no more. */
async function readUntil(socket: Socket, word: string): Promise<void> {
  let tail = ''
  await new Promise<void>((resolve, reject) => {
    socket.on('error', reject)
    socket.on('data', chunk => {
      tail = (tail + chunk.toString('latin1')).slice(-10_000)
      if (tail.includes(word)) resolve()
    })
  })
  socket.removeAllListeners('data').pause()
}

describe.runIf(process.platform === 'linux').each(TRANSPORTS)('over %s', { timeout: 90_000 }, transport => {
  const folder = temporaryFolder()
  const words = { up: marker(), down: marker(), banner: marker(), typed: marker() }
  const seen = { up: marker(), down: marker(), banner: marker() }
  const origins: Origin[] = []
  const shells: SshOrigin[] = []
  const sockets: Socket[] = []
  let world: JoinedWorld

  const originOf = async (up: string, down: string) => {
    const origin = await startOrigin(socket => {
      fillWith(socket, down)
      void readUntil(socket, up).catch(() => {})
    })
    origins.push(origin)
    return `tcp://127.0.0.1:${origin.port}`
  }
  const shellOf = async (name: string, banner: string) => {
    const shell = await startSshOrigin(folder.in(name), [`VersionAddendum ${banner}`])
    shells.push(shell)
    return `ssh://127.0.0.1:${shell.port}`
  }
  const search = () => searchMemory(stoppable(world.edge.child), { ...words, ...prefixed(seen) })
  const fill = async (hostname: string, { up, down }: { readonly up: string; readonly down: string }) => {
    const { port } = await world.forward(hostname)
    const socket = connect(port, '127.0.0.1')
    sockets.push(socket)
    fillWith(socket, up)
    await readUntil(socket, down)
  }
  const shell = (hostname: string, at: number, command: string) => {
    const origin = shells[at]
    if (!origin) throw new Error('no sshd')
    const address = `${hostname}:${world.port}`
    const reached = { folder: folder.in(hostname), hostname, address, credential: world.flags(hostname), trust: [] }
    return run('ssh', ['-F', writeSshConfig(reached, origin), hostname, command])
  }

  beforeAll(async () => {
    const apps: JoinedOptions['apps'] = {
      [SECRET]: { service: await originOf(words.up, words.down), mode: 'end-to-end' },
      [OPEN]: { service: await originOf(seen.up, seen.down), mode: 'hop' },
      ...(hasSsh && {
        [SECRET_SHELL]: { service: await shellOf('one', words.banner), mode: 'end-to-end' },
        [OPEN_SHELL]: { service: await shellOf('two', seen.banner), mode: 'hop' },
      }),
    }
    const edge = { env: { NODE_OPTIONS: `--heapsnapshot-signal=SIGUSR2 --diagnostic-dir=${folder.in('heap')}` } }
    world = await startJoined({ apps, transport, places: { edge } })
  })
  afterAll(async () => {
    for (const socket of sockets) socket.destroy()
    await world?.[Symbol.asyncDispose]()
    for (const one of [...origins, ...shells]) await one[Symbol.asyncDispose]()
    folder[Symbol.dispose]()
  })

  it('a stream that stands, full both ways: its words are in the edge’s memory in hop mode, and not end to end', async () => {
    await fill(OPEN, seen)
    await fill(SECRET, words)
    const found = search()
    expect(found['seen up']).toBeGreaterThan(10)
    expect(found['seen down']).toBeGreaterThan(10)
    expect([found.up, found.down]).toEqual([0, 0])
  })

  it.skipIf(!hasSsh)(
    'ssh: the banner of a server is, and neither it nor what is typed end to end (needs: ssh, sshd)',
    async () => {
      const typed = `echo ${words.typed}; echo ${words.typed} >&2`
      for (let turn = 0; turn < 3; turn++) {
        const { stdout, stderr } = await shell(SECRET_SHELL, 0, typed)
        expect([stdout, stderr], stderr).toEqual([`${words.typed}\n`, `${words.typed}\n`])
      }
      // What was read once may be written over soon: somebody comes again until it is found.
      await expect
        .poll(
          async () => {
            await shell(OPEN_SHELL, 1, 'true')
            return search()['seen banner']
          },
          { timeout: 60_000 },
        )
        .toBeGreaterThan(0)
      const { up, down, banner, typed: kept } = search()
      expect({ up, down, banner, kept }).toEqual({ up: 0, down: 0, banner: 0, kept: 0 })
    },
  )

  it.skipIf(!canCapture)(
    'in no capture of the edge’s port, and in one of the service’s (needs: root, tcpdump)',
    async () => {
      const heard: Capture[] = []
      for (const port of [world.port, origins[0]?.port ?? 0]) heard.push(await capture(port))
      await fill(SECRET, words)
      if (hasSsh) await shell(SECRET_SHELL, 0, `echo ${words.typed}`)
      const [edge, service] = await Promise.all(heard.map(one => one.stop()))
      expect([service?.includes(words.up), service?.includes(words.down)]).toEqual([true, true])
      expect(edge?.length).toBeGreaterThan(100_000)
      expect(Object.values(words).filter(word => edge?.includes(word))).toEqual([])
    },
  )

  it('in no heap snapshot of the edge, which names its applications', async () => {
    process.kill(world.edge.child.pid ?? 0, 'SIGUSR2')
    const snapshot = () =>
      readdirSync(folder.in('heap')).map(file => readFileSync(join(folder.in('heap'), file), 'utf8'))
    await expect.poll(() => snapshot()[0]?.endsWith('}'), { timeout: 60_000, interval: 500 }).toBe(true)
    const [text = ''] = snapshot()
    expect(text).toContain(SECRET)
    expect(Object.values(words).filter(word => text.includes(word))).toEqual([])
  })
})

function prefixed(words: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(words).map(([name, word]) => [`seen ${name}`, word]))
}
