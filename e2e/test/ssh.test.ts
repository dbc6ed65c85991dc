import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { copyFileSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { freePort } from '@postern/dev'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { temporaryFolder } from '../world/folder.ts'
import { Running, run } from '../world/program.ts'
import { type SshOrigin, startSshOrigin, writeSshConfig } from '../world/ssh.ts'
import { startWorld, type World } from '../world/world.ts'

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')
const MEGABYTE = 1024 * 1024

const sizeOf = (file: string) => statSync(file, { throwIfNoEntry: false })?.size ?? 0
const sha256 = (file: string) => createHash('sha256').update(readFileSync(file)).digest('hex')

describe.skipIf(!['ssh', 'sshd', 'sftp'].every(name => peers.includes(name)))(
  'OpenSSH through Postern (needs: apt-get install openssh-client openssh-server)',
  () => {
    const folder = temporaryFolder()
    let origin: SshOrigin
    let world: World
    let config: string

    beforeAll(async () => {
      origin = await startSshOrigin(folder.path)
      world = await startWorld({ hostname: 'ssh.localhost', service: `ssh://127.0.0.1:${origin.port}` })
      config = writeSshConfig(world, origin)
    })
    afterAll(async () => {
      await world?.[Symbol.asyncDispose]()
      await origin?.[Symbol.asyncDispose]()
      folder[Symbol.dispose]()
    })

    const ssh = (...args: string[]) => run('ssh', ['-F', config, ...args])

    it('runs a command and gives its output, its errors and its exit status', async () => {
      expect(await ssh('ssh.localhost', 'echo out; echo err >&2; exit 7')).toEqual({
        code: 7,
        stdout: 'out\n',
        stderr: 'err\n',
      })
    })

    it('needs no flags but the hostname where a config file has the rest', async () => {
      const [, id = '', , secretFile = ''] = world.credential
      const home = join(folder.path, 'home')
      mkdirSync(home, { mode: 0o700 })
      copyFileSync(secretFile, join(home, 'token'))
      const { hostname, address } = world
      const bare = writeSshConfig({ folder: home, hostname, address, credential: [], trust: [] }, origin)
      expect(readFileSync(bare, 'utf8')).toMatch(/ProxyCommand \S+ \S+ access ssh --hostname \S+\n$/)
      const through = () =>
        run('ssh', ['-F', bare, hostname, 'echo here'], {
          env: { ...process.env, POSTERN_HOME: home, POSTERN_AUTH: 'service-token' },
        })
      const file = (own: string) => `ca: ${world.trust[1]}\napplications:\n  ${own}: { id: ${id}, secretFile: token }\n`
      writeFileSync(join(home, 'config.yaml'), file('other.localhost'), { mode: 0o600 })
      const without = await through() // the credential is another application's
      expect([without.code, without.stderr.includes('OPTION_MISSING')]).toEqual([255, true])
      writeFileSync(join(home, 'config.yaml'), file(hostname))
      expect(await through()).toEqual({ code: 0, stdout: 'here\n', stderr: '' })
    })

    it('feeds stdin to a command and sees its end', async () => {
      const input = randomBytes(3 * MEGABYTE)
      const { stdout } = await run('ssh', ['-F', config, 'ssh.localhost', 'sha256sum'], { input })
      expect(stdout.slice(0, 64)).toBe(createHash('sha256').update(input).digest('hex'))
    })

    it('gives an interactive shell on a pty, typed into', async () => {
      const shell = new Running(spawn('ssh', ['-F', config, '-tt', 'ssh.localhost'], { stdio: 'pipe' }), 'ssh')
      shell.child.stdin?.write('tty; stty size; echo $((40+2))\n')
      await shell.says(/\/dev\/pts\/\d+/)
      await shell.says(/\b42\b/)
      shell.child.stdin?.write('exit 3\n')
      expect(await shell.exit).toBe(3)
    })

    it('checks the host key end to end: another key is refused by ssh itself', async () => {
      const other = writeSshConfig(world, {
        ...origin,
        keys: { ...origin.keys, hostPublicKey: origin.keys.userPublicKey },
      })
      const { code, stderr } = await run('ssh', ['-F', other, 'ssh.localhost', 'true'])
      writeSshConfig(world, origin)
      expect([code, /REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed/.test(stderr)]).toEqual([
        255,
        true,
      ])
    })

    it('copies with scp and sftp, hashes equal, both ways', async () => {
      const [file, there, back] = [join(folder.path, 'file'), join(folder.path, 'there'), join(folder.path, 'back')]
      writeFileSync(file, randomBytes(16 * MEGABYTE))
      expect((await run('scp', ['-F', config, file, `ssh.localhost:${there}`])).code).toBe(0)
      expect((await run('scp', ['-F', config, `ssh.localhost:${there}`, back])).code).toBe(0)
      expect([sha256(there), sha256(back)]).toEqual([sha256(file), sha256(file)])
      const input = `put ${file} ${there}.sftp\nget ${there}.sftp ${back}.sftp\n`
      expect((await run('sftp', ['-F', config, '-b', '-', 'ssh.localhost'], { input })).code).toBe(0)
      expect([sha256(`${there}.sftp`), sha256(`${back}.sftp`)]).toEqual([sha256(file), sha256(file)])
    })

    it.skipIf(!peers.includes('rsync'))('copies a tree with rsync (needs: apt-get install rsync)', async () => {
      mkdirSync(join(folder.path, 'tree', 'a', 'b'), { recursive: true })
      for (let i = 0; i < 50; i++) writeFileSync(join(folder.path, 'tree', 'a', 'b', `f${i}`), randomBytes(10_000))
      const { code, stderr } = await run('rsync', [
        '-a',
        '-e',
        `ssh -F ${config}`,
        `${folder.path}/tree/`,
        `ssh.localhost:${folder.path}/copy/`,
      ])
      expect([code, stderr]).toEqual([0, ''])
      expect((await run('diff', ['-r', join(folder.path, 'tree'), join(folder.path, 'copy')])).code).toBe(0)
    })

    it('survives a rekey every megabyte, under strict key exchange', async () => {
      const command = `head -c ${24 * MEGABYTE} /dev/zero`
      const { code, stdout, stderr } = await ssh('-v', '-o', 'RekeyLimit=1M', 'ssh.localhost', command)
      expect([code, stdout.length]).toEqual([0, 24 * MEGABYTE])
      expect(/[^\0]/.test(stdout)).toBe(false)
      expect(stderr.match(/rekey/gi)?.length ?? 0).toBeGreaterThan(10)
      expect((await ssh('-vvv', 'ssh.localhost', 'true')).stderr).toContain('strict KEX ordering')
    })

    it('carries -L, -R and -D forwards and ssh-agent inside', async () => {
      const page = createServer((_request, response) => response.end('private page')).listen(0, '127.0.0.1')
      await new Promise(resolve => page.once('listening', resolve))
      const port = (page.address() as AddressInfo).port
      const [local, socks, remote] = [await freePort(), await freePort(), await freePort()]
      const forward = new Running(
        spawn(
          'ssh',
          [
            '-F',
            config,
            '-N',
            '-v',
            '-L',
            `127.0.0.1:${local}:127.0.0.1:${port}`,
            '-R',
            `127.0.0.1:${remote}:127.0.0.1:${port}`,
            '-D',
            `127.0.0.1:${socks}`,
            'ssh.localhost',
          ],
          { stdio: 'pipe' },
        ),
        'ssh',
      )
      try {
        await forward.says(/Entering interactive session|pledge: /)
        expect(await (await fetch(`http://127.0.0.1:${local}/`)).text()).toBe('private page')
        expect(await (await fetch(`http://127.0.0.1:${remote}/`)).text()).toBe('private page')
        expect(
          (await run('curl', ['-s', '--socks5-hostname', `127.0.0.1:${socks}`, `http://127.0.0.1:${port}/`])).stdout,
        ).toBe('private page')
      } finally {
        await forward.stop()
        page.closeAllConnections()
        page.close()
      }
      const agent = await run('ssh-agent', [
        'sh',
        '-c',
        `ssh-add -q ${origin.keys.userKeyFile} && ssh -A -F ${config} ssh.localhost ssh-add -l`,
      ])
      expect(agent.stdout).toContain('postern sample user')
    })

    it.skipIf(!['Xvfb', 'xauth', 'xdpyinfo'].every(name => peers.includes(name)))(
      'carries X11 (needs: apt-get install xvfb xauth x11-utils)',
      async () => {
        const screen = new Running(spawn('Xvfb', ['-displayfd', '1', '-nolisten', 'tcp'], { stdio: 'pipe' }), 'Xvfb')
        try {
          const [display] = await screen.says(/^\d+/)
          const env = { ...process.env, DISPLAY: `:${display}` }
          const { code, stdout } = await run('ssh', ['-F', config, '-Y', 'ssh.localhost', 'echo $DISPLAY; xdpyinfo'], {
            env,
          })
          expect(code).toBe(0)
          expect(stdout).toMatch(/^localhost:1\d\.0\n[\s\S]*name of display/)
        } finally {
          await screen.stop()
        }
      },
    )

    it('a copy cut in its middle is never taken for whole: the edge killed with -9', async () => {
      const [big, copy] = [join(folder.path, 'big'), join(folder.path, 'big.copy')]
      writeFileSync(big, Buffer.alloc(300 * MEGABYTE))
      const scp = new Running(spawn('scp', ['-F', config, `ssh.localhost:${big}`, copy], { stdio: 'pipe' }), 'scp')
      await expect.poll(() => sizeOf(copy), { timeout: 30_000 }).toBeGreaterThan(MEGABYTE)
      await world.edge.stop('SIGKILL')
      expect(await scp.exit).not.toBe(0)
      expect(scp.stderr).toContain('SESSION_LOST')
      expect(sizeOf(copy)).toBeLessThan(300 * MEGABYTE)
      await world.startEdge()
      await expect
        .poll(async () => (await ssh('ssh.localhost', 'true')).code, { timeout: 60_000, interval: 1000 })
        .toBe(0)
    })

    describe.skipIf(!peers.includes('git'))('git (needs: apt-get install git)', () => {
      const env = () => ({
        ...process.env,
        GIT_SSH_COMMAND: `ssh -F ${config}`,
        GIT_CONFIG_GLOBAL: '/dev/null',
        GIT_AUTHOR_NAME: 'a',
        GIT_AUTHOR_EMAIL: 'a@x',
        GIT_COMMITTER_NAME: 'a',
        GIT_COMMITTER_EMAIL: 'a@x',
      })
      const git = (cwd: string, ...args: string[]) => run('git', args, { cwd, env: env() })

      it('clones, pushes, and the other side has it', async () => {
        const bare = join(folder.path, 'repo.git')
        await git(folder.path, 'init', '-q', '--bare', '-b', 'main', bare)
        expect((await git(folder.path, 'clone', '-q', `ssh.localhost:${bare}`, 'clone')).code).toBe(0)
        const clone = join(folder.path, 'clone')
        writeFileSync(join(clone, 'big'), randomBytes(2 * MEGABYTE))
        await git(clone, 'checkout', '-q', '-b', 'main')
        await git(clone, 'add', '.')
        await git(clone, 'commit', '-q', '-m', 'through')
        const pushed = await git(clone, 'push', '-q', 'origin', 'main')
        expect([pushed.code, pushed.stderr]).toEqual([0, ''])
        expect((await git(bare, 'rev-parse', 'main')).stdout).toBe((await git(clone, 'rev-parse', 'HEAD')).stdout)
      })
    })
  },
)
