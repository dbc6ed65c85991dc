// Every auth × transport of the client × transport of the daemon × protocol × mode, from one table: ../world/combinations.ts.
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { CombinationSite } from '../world/combination-site.ts'
import {
  AUTHS,
  type Combination,
  everyCombination,
  IMPOSSIBLE,
  PROTOCOLS,
  possible,
  TRANSPORTS,
} from '../world/combinations.ts'
import { type Running, run } from '../world/program.ts'

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')
/** Connections at once. */
const LANES = 6
/** What a client of remote desktops says first (MS-RDPBCGR 2.2.1.1): the daemon reads it, and passes it on as it is. */
const NEGOTIATION = Buffer.from('030000130ee000000000000100080003000000', 'hex')

const over = everyCombination().filter(({ protocol }) => protocol === 'http')
const carried = possible().filter(({ protocol }) => protocol !== 'http')
const web = possible().filter(({ protocol }) => protocol === 'http')

it('the table has what the programs come with, and every line of it is tried or refused', () => {
  const cli = JSON.parse(readFileSync(join(import.meta.dirname, '../../apps/cli/package.json'), 'utf8'))
  const packages = Object.keys({ ...cli.dependencies, ...cli.devDependencies })
  const auths = packages.flatMap(name => /^@postern\/auth-(.*)/.exec(name)?.[1] ?? [])
  expect([...AUTHS].sort()).toEqual([...auths, 'my-plugin'].sort())
  expect([...TRANSPORTS].sort()).toEqual(['auto', 'grpc', 'tls', 'websocket'])
  expect([...PROTOCOLS].sort()).toEqual(['http', 'rdp', 'smb', 'ssh', 'tcp'])
  const refused = over.filter(one => IMPOSSIBLE.some(({ is }) => is(one)))
  expect([everyCombination().length, carried.length, web.length, refused.length]).toEqual([640, 512, 16, 112])
})

describe.skipIf(!['ssh', 'sshd', 'openssl'].every(name => peers.includes(name)))(
  'every combination (needs: apt-get install openssh-client openssh-server openssl)',
  () => {
    let site: CombinationSite

    beforeAll(async () => {
      site = await CombinationSite.start()
      writeFileSync(join(site.folder, 'known_hosts'), `sshd ${site.services.ssh.keys.hostPublicKey}\n`)
    })
    afterAll(() => site?.[Symbol.asyncDispose]())

    const pairs = AUTHS.flatMap(auth => TRANSPORTS.map(client => ({ auth, client })))

    it.each(pairs)('$auth over $client: bytes to every daemon by every protocol, in both modes', async pair => {
      const own = carried.filter(one => one.auth === pair.auth && one.client === pair.client)
      const insisting = TRANSPORTS.map(daemon => ({ ...own[0]!, daemon, protocol: 'tcp', mode: 'hop' as const }))
      await using program = stopping(
        site.up(pair.auth, pair.client, [
          ...own.map(one => site.forward(one)),
          // A daemon that serves hop only, and a client who wants the other; somebody who is known, and not let in.
          ...insisting.map(one => ({ ...site.forward(one), endToEnd: true })),
          { hostname: site.closed, listen: 0, protocol: 'tcp' },
        ]),
      )
      const up = program.running
      await inLanes(own, async one => {
        const { address, mode, transport } = await told(up, site.at(one), 'up')
        expect({ mode, transport: one.client === 'auto' ? 'auto' : transport }, site.at(one)).toEqual({
          ...{ mode: one.mode, transport: one.client },
        })
        if (one.client === 'auto') expect(TRANSPORTS).toContain(transport)
        const port = portOf(address)
        if (one.protocol !== 'ssh') await echo(port, one)
        else if (isShell(one)) await shell(port, site.at(one))
        else await banner(port)
      })
      for (const one of insisting)
        expect(await told(up, site.at(one), 'retrying', 'MODE_FORBIDDEN')).toMatchObject({ protocol: 'tcp' })
      expect(await told(up, site.closed, 'failed')).toMatchObject({ code: 'ACCESS_DENIED' })
    })

    it.each(AUTHS)('%s: HTTP, with a daemon that came by each transport', async auth => {
      await inLanes(
        web.filter(one => one.auth === auth),
        async one => {
          const words = ['access', 'http', site.at(one), '--json', ...site.flags(auth)]
          await using program = stopping(site.postern(words))
          const { address } = await told(program.running, site.at(one), 'listening')
          const answer = await fetch(`http://localhost:${portOf(address)}/${auth}`)
          expect([answer.status, await answer.text()], site.at(one)).toEqual([200, `page /${auth}`])
        },
      )
    })

    const reasons = IMPOSSIBLE.map(one => [one.why, one] as const)
    describe.each(reasons)('impossible, since %s', (_why, { is, typed, rule, refused }) => {
      // Refused before anything is dialled: neither the auth nor the daemon has a part in it.
      const tried = over.filter(one => one.auth === 'service-token' && one.daemon === 'auto' && is(one))
      const lines = new Map(tried.map(one => [typed(one, 'APPLICATION').join(' '), one]))

      it.each([...lines])('postern %s', async (_words, one) => {
        const words = typed(one, site.at({ ...one, mode: 'hop' }))
        const before = site.services.web.connections
        const { exit, stderr } = await ended(site.postern([...words, ...site.flags(one.auth)]))
        expect([exit, stderr], stderr).toEqual([refused.exit, expect.stringMatching(refused.says)])
        expect(stderr).toContain(refused.code)
        expect(site.services.web.connections).toBe(before)
      })

      if (rule === undefined) return
      it('in an ingress rule', async () => {
        const { exit, stderr } = await ended(site.refusedRule(rule))
        expect([exit, stderr], stderr).toEqual([3, expect.stringContaining('for services of bytes')])
      })
    })

    it('nor is HTTP a protocol of bytes: a session is refused, and says what to run', async () => {
      const words = ['access', 'tcp', '--hostname', site.at({ protocol: 'http', mode: 'hop', daemon: 'auto' })]
      const { exit, stderr } = await ended(site.postern([...words, ...site.flags('service-token')]))
      expect([exit, stderr], stderr).toEqual([2, expect.stringContaining('postern access http --hostname')])
    })

    /** Real ssh to real sshd, whose key it knows. */
    async function shell(port: number, name: string): Promise<void> {
      const { keys } = site.services.ssh
      const known = `UserKnownHostsFile=${join(site.folder, 'known_hosts')}`
      const options = ['BatchMode=yes', 'IdentitiesOnly=yes', 'StrictHostKeyChecking=yes', known, 'HostKeyAlias=sshd']
      const flags = ['-F', '/dev/null', '-p', String(port), '-i', keys.userKeyFile, ...options.flatMap(o => ['-o', o])]
      const { stdout, stderr } = await run('ssh', [...flags, `${userInfo().username}@127.0.0.1`, 'echo from sshd'])
      expect(stdout, `${name}: ${stderr}`).toBe('from sshd\n')
    }
  },
)

/** Real ssh costs a fifth of a second: between each two transports and in each mode it is run with one auth, with each as often. */
function isShell({ auth, client, daemon, mode }: Combination): boolean {
  const at = TRANSPORTS.indexOf(client) + TRANSPORTS.indexOf(daemon) + Number(mode === 'hop')
  return AUTHS.indexOf(auth) === at % AUTHS.length
}

/** What the real sshd says first. */
async function banner(port: number): Promise<void> {
  const socket = connect({ host: '127.0.0.1', port })
  const [first] = await once(socket, 'data')
  expect(String(first)).toMatch(/^SSH-2\.0-OpenSSH/)
  socket.destroy()
}

/** Bytes both ways and both ends of them. */
async function echo(port: number, { protocol }: Combination): Promise<void> {
  const first = protocol === 'rdp' ? NEGOTIATION : Buffer.alloc(0)
  const sent = Buffer.concat([first, randomBytes(20_000)])
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  const chunks: Buffer[] = []
  const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true }, () => socket.end(sent))
  socket.on('data', (chunk: Buffer) => void chunks.push(chunk)).on('error', reject)
  socket.on('end', () => resolve(Buffer.concat(chunks)))
  const wanted = Buffer.concat([Buffer.from('HELLO\n'), sent, Buffer.alloc(1000, 't')])
  expect((await promise).equals(wanted)).toBe(true)
}

interface Told {
  readonly address: string
  readonly code?: string
  readonly mode?: string
  readonly transport?: string
}

/** Waits for an event of a program's JSON lines. */
async function told(running: Running, hostname: string, event: string, code?: string): Promise<Told> {
  const why = code === undefined ? '' : `"code":"${code}"[^\n]*`
  const [line] = await running.says(new RegExp(`"event":"${event}","hostname":"${hostname}"[^\n]*${why}\n`), 60)
  return JSON.parse(`{${line}`) as Told
}

function portOf(address: string): number {
  return Number(/:(\d+)$/.exec(address)?.[1])
}

async function ended(running: Running): Promise<{ readonly exit: number; readonly stderr: string }> {
  running.child.stdin?.end()
  return { exit: await running.exit, stderr: running.stderr }
}

function stopping(running: Running): AsyncDisposable & { readonly running: Running } {
  return { running, [Symbol.asyncDispose]: async () => void (await running.stop('SIGKILL')) }
}

/** All of them, a few at once. */
async function inLanes<T>(all: readonly T[], work: (one: T) => Promise<void>): Promise<void> {
  const waiting = [...all]
  const lane = async () => {
    for (let one = waiting.shift(); one !== undefined; one = waiting.shift()) await work(one)
  }
  await Promise.all(Array.from({ length: LANES }, lane))
}
