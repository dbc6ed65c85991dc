import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { readSshCertificate } from '@postern/pki/ssh/certificate'
import { publicKeyOf } from '@postern/pki/ssh/key'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startBrowser, type TestBrowser } from '../world/browser.ts'
import { type Running, run } from '../world/program.ts'
import { TEAM } from '../world/site.ts'
import { ACCOUNT, logged } from '../world/ssh-ca.ts'
import { EMAIL, PASSWORD, PLAIN, SSH, SshCertificateWorld } from '../world/ssh-certificates.ts'

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')
const [ACCESS_DENIED, LOGIN_REQUIRED, FILE_UNSAFE, FILE_UNREADABLE] = [14, 10, 5, 5]

describe.skipIf(!['ssh', 'sshd'].every(name => peers.includes(name)))(
  'SSH without authorized_keys (needs: apt-get install openssh-client openssh-server)',
  { timeout: 120_000 },
  () => {
    let world: SshCertificateWorld
    beforeAll(async () => {
      world = await SshCertificateWorld.start()
    })
    afterAll(() => world?.[Symbol.asyncDispose]())

    describe('as a person who has no key there', () => {
      it.skipIf(!peers.includes('git'))('ssh, scp and git just work, with the stanza that was written', async () => {
        const ann = world.user()
        expect(await ann.configure(SSH)).toMatchObject({ code: 0 })
        const stanza = readFileSync(ann.config, 'utf8')
        expect(stanza).toMatch(
          /\nMatch host ssh\.localhost exec "postern access ssh-gen --hostname ssh\.localhost:\d+ /,
        )
        const since = world.named.log().length
        expect(await ann.ssh(SSH, 'echo in')).toEqual({ code: 0, stdout: 'in\n', stderr: '' })
        await logged(world.named, since, /Accepted publickey for \S+ .* ID postern_service-token\/\S+ \(serial \d+\)/)
        const [file, copy, back] = [join(ann.home, 'file'), join(ann.home, 'copy'), join(ann.home, 'back')]
        writeFileSync(file, Buffer.alloc(3_000_000, 7))
        expect(await run('scp', ['-F', ann.config, file, `${SSH}:${copy}`], { env: ann.env })).toMatchObject({
          code: 0,
        })
        expect(await run('scp', ['-F', ann.config, `${SSH}:${copy}`, back], { env: ann.env })).toMatchObject({
          code: 0,
        })
        expect(readFileSync(back).equals(readFileSync(file))).toBe(true)
        const env = { ...ann.env, GIT_SSH_COMMAND: `ssh -F ${ann.config}`, GIT_CONFIG_GLOBAL: '/dev/null' }
        const [bare, clone] = [join(ann.home, 'bare.git'), join(ann.home, 'clone')]
        expect((await run('git', ['init', '-q', '--bare', bare], { env })).code).toBe(0)
        expect((await run('git', ['clone', '-q', `${SSH}:${bare}`, clone], { env })).code).toBe(0)
        const git = (...args: string[]) =>
          run('git', ['-C', clone, '-c', 'user.name=a', '-c', 'user.email=a@b.c', ...args], { env })
        await git('commit', '-q', '--allow-empty', '-m', 'one')
        expect(await git('push', '-q', 'origin', 'HEAD')).toMatchObject({ code: 0 })
        expect((await run('git', ['-C', bare, 'log', '--format=%s', '--all'], { env })).stdout).toBe('one\n')
      })

      it('one certificate does for all of it, and it is of this application alone', async () => {
        const ann = world.user()
        const first = await ann.gen(SSH)
        expect(first).toEqual({ code: 0, stdout: `${ann.key(SSH)}\n`, stderr: '' })
        const kept = readFileSync(ann.certificate(SSH), 'utf8')
        const [before, issued] = [(await world.rows('ssh-certificate.issue')).length, readSshCertificate(kept)]
        expect(await ann.gen(SSH)).toMatchObject({ code: 0 })
        expect(readFileSync(ann.certificate(SSH), 'utf8')).toBe(kept)
        expect((await world.rows('ssh-certificate.issue')).length).toBe(before)
        expect(issued).toMatchObject({
          principals: ['deploy'],
          publicKey: publicKeyOf(readFileSync(ann.key(SSH), 'utf8')),
        })
        // The other application’s server wants its own authority, whatever the name in the certificate.
        await world.permit(SSH, { ssh: { principals: [ACCOUNT] } })
        const both = await world.certify(SSH, { publicKey: issued.publicKey })
        await world.permit(SSH, { ssh: { principals: ['deploy'] } })
        writeFileSync(join(ann.home, 'cert.pub'), both.said.certificate ?? '')
        await ann.configure(PLAIN)
        const direct = (certificate: string) =>
          run(
            'ssh',
            [
              '-F',
              ann.config,
              '-o',
              'ProxyCommand=none',
              '-o',
              'HostKeyAlias=plain.localhost',
              '-p',
              String(world.plain.port),
              '-i',
              ann.key(SSH),
              '-o',
              `CertificateFile=${certificate}`,
              '127.0.0.1',
              'echo in',
            ],
            { env: ann.env },
          )
        expect((await direct(join(ann.home, 'cert.pub'))).code).toBe(255)
        const theirs = await world.certify(PLAIN, { publicKey: issued.publicKey })
        writeFileSync(join(ann.home, 'cert.pub'), theirs.said.certificate ?? '')
        expect(await direct(join(ann.home, 'cert.pub'))).toMatchObject({ code: 0, stdout: 'in\n' })
      })

      it('whoever may not gets none, and is told why, once by each program', async () => {
        const eve = world.user(world.stranger)
        expect(await eve.configure(SSH)).toMatchObject({ code: 0 })
        const since = world.named.log().length
        const { code, stderr } = await eve.ssh(SSH, 'echo in')
        expect([code, stderr.match(/ACCESS_DENIED/g)?.length]).toEqual([255, 2])
        expect(world.named.log().slice(since)).not.toMatch(/Connection from/)
        expect(existsSync(eve.certificate(SSH))).toBe(false)
        expect((await eve.gen(SSH)).code).toBe(ACCESS_DENIED)
        expect((await world.user().gen(SSH)).code).toBe(0)
      })
    })

    describe('the files of a user', () => {
      it('row 118: are theirs alone, whatever the umask', async () => {
        const ann = world.user()
        const script = `umask 000; postern access ssh-gen --hostname ${SSH}:${world.site.edge.port} --id ${world.ci.id} --secret-file ${join(ann.home, 'secret')}`
        expect((await run('sh', ['-c', script], { env: ann.env })).code).toBe(0)
        expect(statSync(ann.files).mode & 0o777).toBe(0o700)
        for (const file of [ann.key(SSH), ann.certificate(SSH)]) expect(statSync(file).mode & 0o777).toBe(0o600)
        chmodSync(ann.key(SSH), 0o644)
        expect((await ann.gen(SSH)).code).toBe(FILE_UNSAFE)
        chmodSync(ann.key(SSH), 0o600)
        expect((await ann.gen(SSH)).code).toBe(0)
      })

      it('row 119: are not read or written through a link, and no FIFO is waited for', async () => {
        for (const which of ['key', 'certificate'] as const) {
          const ann = world.user()
          expect((await ann.gen(SSH)).code).toBe(0)
          const [file, target] = [ann[which](SSH), join(ann.home, 'target')]
          writeFileSync(target, readFileSync(file), { mode: 0o600 })
          const before = readFileSync(target, 'utf8')
          rmSync(file)
          symlinkSync(target, file)
          expect((await ann.gen(SSH)).code).toBe(FILE_UNSAFE)
          expect(readFileSync(target, 'utf8')).toBe(before)
          rmSync(file)
          expect((await run('mkfifo', ['-m', '600', file])).code).toBe(0)
          expect((await ann.gen(SSH)).code).toBe(FILE_UNREADABLE)
          rmSync(file)
          expect((await ann.gen(SSH)).code).toBe(0)
        }
      })

      it('row 81: a hostname is a hostname before it is a file, a word of a shell or a request', async () => {
        const ann = world.user()
        for (const hostname of ['-oProxyCommand=id', '../../x', '$(id)', 'a b', '%h', "a'b", 'a\nMatch all', '.', ''])
          for (const command of ['ssh-gen', 'ssh-config'])
            expect(
              (
                await run(
                  'postern',
                  ['access', command, `--hostname=${hostname}`, '--short-lived-cert'].slice(
                    0,
                    command === 'ssh-gen' ? 3 : 4,
                  ),
                  { env: ann.env },
                )
              ).code,
            ).toBe(2)
        expect(existsSync(ann.files)).toBe(false)
      })

      it('several at once make one key, and leave one certificate that fits it', async () => {
        const ann = world.user()
        const before = (await world.rows('ssh-certificate.issue')).length
        const all = await Promise.all(Array.from({ length: 6 }, () => ann.gen(SSH, '--json')))
        expect(all.map(({ code }) => code)).toEqual([0, 0, 0, 0, 0, 0])
        expect((await world.rows('ssh-certificate.issue')).length).toBe(before + 1)
        expect(all.map(({ stdout }) => JSON.parse(stdout))).toEqual(Array(6).fill(JSON.parse(all[0]?.stdout ?? '')))
        const certificate = readSshCertificate(readFileSync(ann.certificate(SSH), 'utf8'))
        expect(certificate.publicKey).toBe(publicKeyOf(readFileSync(ann.key(SSH), 'utf8')))
      })

      it('row 156: killed at any moment it leaves whole files or none', async () => {
        const ann = world.user()
        for (let delay = 40; delay <= 400; delay += 40) {
          rmSync(ann.files, { recursive: true, force: true })
          const going = world.site.postern(
            [
              'access',
              'ssh-gen',
              '--hostname',
              `${SSH}:${world.site.edge.port}`,
              '--id',
              world.ci.id,
              '--secret-file',
              join(ann.home, 'secret'),
            ],
            ann.env,
          )
          await sleep(delay)
          await going.stop('SIGKILL')
          const [key, certificate] = [ann.key(SSH), ann.certificate(SSH)]
          if (existsSync(key)) expect(publicKeyOf(readFileSync(key, 'utf8'))).toMatch(/^ssh-ed25519 /)
          if (existsSync(certificate))
            expect(readSshCertificate(readFileSync(certificate, 'utf8')).principals).toEqual(['deploy'])
        }
        const kept = existsSync(ann.key(SSH)) ? readFileSync(ann.key(SSH), 'utf8') : undefined
        expect((await ann.gen(SSH)).code).toBe(0)
        if (kept !== undefined) expect(readFileSync(ann.key(SSH), 'utf8')).toBe(kept)
      })

      it('asked for by another credential, it is another certificate; logging out throws it away', async () => {
        const ann = world.user()
        const other = await world.token('other')
        await world.permit(SSH, { ssh: { principals: ['deploy'] } }, ['ci', 'other'])
        expect((await ann.gen(SSH)).code).toBe(0)
        const serial = () => readSshCertificate(readFileSync(ann.certificate(SSH), 'utf8')).serial
        const [first, key] = [serial(), readFileSync(ann.key(SSH), 'utf8')]
        writeFileSync(join(ann.home, 'other'), other.secret, { mode: 0o600 })
        const args = [
          'access',
          'ssh-gen',
          '--hostname',
          `${SSH}:${world.site.edge.port}`,
          '--id',
          other.id,
          '--secret-file',
          join(ann.home, 'other'),
        ]
        expect((await ann.postern(...args)).code).toBe(0)
        expect(serial()).not.toBe(first)
        expect(readFileSync(ann.key(SSH), 'utf8')).toBe(key)
        expect((await run('postern', ['access', 'logout', '--all'], { env: ann.env })).code).toBe(0)
        expect(readdirSync(ann.files).filter(name => name.endsWith('-cert.pub'))).toEqual([])
        await world.permit(SSH, { ssh: { principals: ['deploy'] } })
      })
    })

    describe.skipIf(!peers.includes('chromium'))('a person with a browser (needs: apt-get install chromium)', () => {
      let browser: TestBrowser
      beforeAll(async () => {
        browser = await startBrowser()
      })
      afterAll(() => browser?.[Symbol.asyncDispose]())

      async function follow(program: Running): Promise<void> {
        const [url] = await program.says(/https:\/\/edge\.localhost:\d+\/oauth\/\S+/)
        await using visitor = await browser.person()
        const page: Page = await visitor.newPage()
        await page.goto(url)
        await page.getByLabel('Email').fill(EMAIL)
        await page.getByLabel('Password').fill(PASSWORD)
        await page.getByRole('button', { name: 'Sign in' }).click()
        await page.getByRole('button', { name: 'Yes, sign in' }).click()
        await page.waitForURL(/^http:\/\/127\.0\.0\.1:\d+\//)
      }

      it('signs in once, is who their address says, and is out when their session is', async () => {
        const ann = world.user(world.ci, true)
        await world.permit(SSH, { ssh: { principals: [{ emailLocalPart: 'example.com' }] } })
        const hostname = `${SSH}:${world.site.edge.port}`
        const env = { ...ann.env, DISPLAY: ':99' }
        const gen = world.site.postern(
          ['access', 'ssh-gen', '--hostname', hostname, '--no-browser', '--trust-team', TEAM],
          env,
        )
        await follow(gen)
        expect(await gen.exit).toBe(0)
        expect(gen.stdout).toBe(`${ann.key(SSH)}\n`)
        const facts = readSshCertificate(readFileSync(ann.certificate(SSH), 'utf8'))
        expect(facts).toMatchObject({ principals: ['ann'], keyId: expect.stringMatching(/^ann@example\.com:/) })
        await world.site.edge.administration.call('session.revoke', { body: { email: EMAIL } } as never)
        rmSync(ann.certificate(SSH))
        const { DISPLAY: _, ...blind } = ann.env
        const again = await run('setsid', ['postern', 'access', 'ssh-gen', '--hostname', hostname], { env: blind })
        expect([again.code, existsSync(ann.certificate(SSH))]).toEqual([LOGIN_REQUIRED, false])
        await world.permit(SSH, { ssh: { principals: ['deploy'] } })
      })

      it('gets none that outlives their session', async () => {
        const ann = world.user(world.ci, true)
        const { administration } = world.site.edge
        const application = await administration.call('application.get', { params: { hostname: SSH } })
        const { tunnel, protocols } = application
        const rules = [
          {
            name: 'staff',
            action: 'allow',
            include: [{ group: 'staff' }],
            permit: { ssh: { principals: ['deploy'], seconds: 86_400 } },
          },
        ]
        await administration.call('application.put', {
          params: { hostname: SSH },
          body: { tunnel, protocols, rules, options: { sessionSeconds: 600 } },
        } as never)
        const gen = world.site.postern(
          ['access', 'ssh-gen', '--hostname', `${SSH}:${world.site.edge.port}`, '--no-browser', '--trust-team', TEAM],
          { ...ann.env, DISPLAY: ':99' },
        )
        await follow(gen)
        expect(await gen.exit).toBe(0)
        const { validBefore } = readSshCertificate(readFileSync(ann.certificate(SSH), 'utf8'))
        expect(validBefore).toBeLessThanOrEqual(Date.now() / 1000 + 600)
        await administration.call('application.put', {
          params: { hostname: SSH },
          body: { tunnel, protocols, rules },
        } as never)
        await world.permit(SSH, { ssh: { principals: ['deploy'] } })
      })
    })
  },
)
