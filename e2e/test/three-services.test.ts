import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { renameSync, writeFileSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import type { Writable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { temporaryFolder } from '../world/folder.ts'
import { type Origin, startOrigin } from '../world/origin.ts'
import { Running, start } from '../world/program.ts'
import { type SshOrigin, startSshOrigin, writeSshConfig } from '../world/ssh.ts'
import { startWorld, type World } from '../world/world.ts'

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')
const MEGABYTE = 1024 * 1024

/** Bytes that are sent a part at a time, with the hash of all of them. */
class Sender {
  readonly #hash = createHash('sha256')
  readonly #to: Writable

  constructor(to: Writable) {
    this.#to = to.on('error', () => {}) // the other end is asked how it was
  }

  async send(megabytes: number): Promise<void> {
    for (let part = 0; part < megabytes; part++) {
      const bytes = randomBytes(MEGABYTE)
      this.#hash.update(bytes)
      if (!this.#to.write(bytes)) await new Promise(resolve => this.#to.once('drain', resolve))
    }
  }

  /** @returns the hash of what was sent */
  end(): string {
    this.#to.end()
    return this.#hash.digest('hex')
  }
}

/** Answers with the hash of what came, once all of it came. */
function hashing(socket: Socket): void {
  const hash = createHash('sha256')
  socket.on('data', chunk => hash.update(chunk)).on('end', () => socket.end(hash.digest('hex')))
}

describe.skipIf(!['ssh', 'sshd'].every(name => peers.includes(name)))(
  'one daemon, three services of different kinds (needs: apt-get install openssh-client openssh-server)',
  () => {
    const folder = temporaryFolder()
    const path = join(folder.path, 'app.sock')
    let tcp: Origin
    let sshd: SshOrigin
    let socket: Server
    let world: World
    let daemon: Running

    beforeAll(async () => {
      tcp = await startOrigin(hashing)
      sshd = await startSshOrigin(folder.path)
      socket = createServer({ allowHalfOpen: true }, one => one.on('error', () => {}).pipe(one))
      await new Promise<void>(resolve => socket.listen(path, resolve))
      world = await startWorld({ hostname: 'db.localhost', service: `tcp://127.0.0.1:${tcp.port}` })
      await world.daemon.stop()
      for (const [hostname, protocol] of [
        ['ssh.localhost', 'ssh'],
        ['sock.localhost', 'tcp'],
      ] as const) {
        await admin('app', 'create', hostname, '--tunnel', 'home', '--protocol', protocol)
        await admin('policy', 'allow', hostname, '--any-service-token')
      }
      write(DB, SSH, SOCK)
      daemon = start('posternd', ['run', '--config', config()])
      await daemon.says(/connected to the edge/)
    })
    afterAll(async () => {
      await daemon?.stop('SIGKILL')
      await world?.[Symbol.asyncDispose]()
      await tcp?.[Symbol.asyncDispose]()
      await sshd?.[Symbol.asyncDispose]()
      socket?.close()
      folder[Symbol.dispose]()
    })

    const config = () => join(folder.path, 'posternd.json')
    const DB = () => ['db.localhost', `tcp://127.0.0.1:${tcp.port}`]
    const SSH = () => ['ssh.localhost', `ssh://127.0.0.1:${sshd.port}`]
    const SOCK = () => ['sock.localhost', `unix:${path}`]

    function write(...rules: (() => string[])[]): void {
      const ingress = rules.map(rule => rule()).map(([hostname, service]) => ({ hostname, service }))
      const tokenFile = join(world.folder, 'secrets', 'tunnel')
      const edge = `https://edge.localhost:${world.port}`
      writeFileSync(`${config()}~`, JSON.stringify({ edge, ca: world.trust[1], tokenFile, ingress }), { mode: 0o600 })
      renameSync(`${config()}~`, config())
    }

    async function admin(...words: string[]): Promise<void> {
      const running = start('postern', ['admin', ...words, '--data', join(world.folder, 'edge')])
      expect(await running.exit, running.stderr).toBe(0)
    }

    const access = (hostname: string) => world.access('tcp', ['--hostname', `${hostname}:${world.port}`])

    /** `sha256sum` there, of what is sent from here. */
    function ssh(): Running {
      const [hostname, address] = ['ssh.localhost', `ssh.localhost:${world.port}`]
      const { credential, trust } = world
      const file = writeSshConfig({ folder: world.folder, hostname, address, credential, trust }, sshd)
      return new Running(spawn('ssh', ['-F', file, hostname, 'sha256sum'], { stdio: ['pipe', 'pipe', 'pipe'] }), 'ssh')
    }

    async function sockEchoes(running: Running, word: string): Promise<void> {
      running.child.stdin?.write(word)
      await running.says(new RegExp(word))
    }

    it('a reload that removes one cuts its streams and says why; the others’ transfers are whole', async () => {
      const [database, shell, taken] = [access('db.localhost'), ssh(), access('sock.localhost')]
      const senders = [database, shell].map(({ child }) => new Sender(child.stdin as Writable))
      await Promise.all([...senders.map(sender => sender.send(4)), sockEchoes(taken, 'before')])
      await expect.poll(() => tcp.bytes).toBeGreaterThan(0)

      write(DB, SSH)
      const sending = Promise.all(senders.map(sender => sender.send(12)))
      await daemon.says(/removed sock\.localhost → unix:/)
      expect([await taken.exit, taken.stdout]).toEqual([31, 'before'])
      expect(taken.stderr).toMatch(/INGRESS_NOT_FOUND, said by the daemon/)
      await sending

      await Promise.all(senders.map(sender => sender.send(4)))
      const hashes = senders.map(sender => sender.end())
      expect([await database.exit, await shell.exit]).toEqual([0, 0])
      expect([database.stdout, shell.stdout.slice(0, 64)]).toEqual(hashes)
      expect(daemon.stderr).toContain('cut streams whose rule was removed or changed streams=1')
      expect(daemon.stderr).not.toMatch(/(removed|changed) (db|ssh)\.localhost/)
    })

    it('the removed one is refused with the same code, until the file has it again', async () => {
      const refused = access('sock.localhost')
      expect([await refused.exit, refused.stderr]).toEqual([31, expect.stringContaining('INGRESS_NOT_FOUND')])
      write(DB, SSH, SOCK)
      await daemon.says(/added sock\.localhost/)
      const again = access('sock.localhost')
      await sockEchoes(again, 'after')
      again.child.stdin?.end()
      expect(await again.exit).toBe(0)
    })
  },
)
