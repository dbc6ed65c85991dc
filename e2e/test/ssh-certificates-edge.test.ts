import { request } from 'node:https'
import { readSshCertificate } from '@postern/pki/ssh/certificate'
import { createSshKey, publicKeyOf } from '@postern/pki/ssh/key'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { TEAM } from '../world/site.ts'
import { PLAIN, SSH, SshCertificateWorld, shown, WEB } from '../world/ssh-certificates.ts'

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')

describe.skipIf(!['ssh', 'sshd'].every(name => peers.includes(name)))(
  'whom the edge gives an SSH certificate (needs: apt-get install openssh-client openssh-server)',
  { timeout: 120_000 },
  () => {
    let world: SshCertificateWorld
    beforeAll(async () => {
      world = await SshCertificateWorld.start()
    })
    afterAll(() => world?.[Symbol.asyncDispose]())

    describe('the authority', () => {
      it('is for everybody to read, the same each time, another for each application', async () => {
        const one = await world.ask(SSH, 'ssh-ca.pub')
        expect(one).toMatchObject({ status: 200, headers: { 'content-type': 'text/plain; charset=utf-8' } })
        expect(one.body).toMatch(/^ssh-ed25519 [A-Za-z0-9+/]{68} postern ssh\.localhost\n$/)
        expect((await world.ask(SSH, 'ssh-ca.pub')).body).toBe(one.body)
        expect((await world.ask(PLAIN, 'ssh-ca.pub')).body.split(' ')[1]).not.toBe(one.body.split(' ')[1])
      })

      it('is nowhere where no SSH is spoken, nor on the team domain', async () => {
        expect((await world.ask(WEB, 'ssh-ca.pub')).status).toBe(404)
        expect((await world.certify(WEB)).status).toBe(404)
        expect((await world.ask(TEAM, 'ssh-ca.pub')).status).toBe(404)
      })

      it('is made once, however many ask first, and goes with its application', async () => {
        const hostname = 'new.localhost'
        const create = () =>
          world.site.edge.administration.call('application.create', {
            body: { hostname, tunnel: 'home', protocols: ['ssh'], rules: [] },
          } as never)
        await create()
        const lines = await Promise.all(Array.from({ length: 20 }, () => world.ask(hostname, 'ssh-ca.pub')))
        expect(new Set(lines.map(({ body }) => body)).size).toBe(1)
        const authorities = () => world.site.edge.store.snapshot.records.get('ssh-ca')?.size ?? 0
        const before = authorities()
        await world.site.edge.administration.call('application.delete', { params: { hostname } })
        expect(authorities()).toBe(before - 1)
        await create()
        expect((await world.ask(hostname, 'ssh-ca.pub')).body).not.toBe(lines[0]?.body)
        await world.site.edge.administration.call('application.delete', { params: { hostname } })
      })

      it('row 99: of its key the database has nothing that can be read', async () => {
        const row = JSON.stringify([...(world.site.edge.store.snapshot.records.get('ssh-ca')?.values() ?? [])])
        expect(row).toMatch(/"sealed":"v1\./)
        expect(row).not.toMatch(/PRIVATE KEY/)
      })
    })

    describe('who gets a certificate', () => {
      it('is decided by the application’s policy, and every one is in the audit log', async () => {
        const good = await world.certify(SSH)
        expect([good.status, good.headers['cache-control']]).toEqual([200, 'no-store'])
        const facts = readSshCertificate(good.said.certificate ?? '')
        const [row] = await world.rows('ssh-certificate.issue')
        expect(row).toMatchObject({ hostname: SSH, detail: { serial: String(facts.serial), principals: ['deploy'] } })
        expect(row?.detail?.key).toMatch(/^SHA256:/)
        expect((await world.certify(SSH, { as: world.stranger })).said.code).toBe('ACCESS_DENIED')
        expect((await world.certify(SSH, { as: { ...world.ci, secret: world.stranger.secret } })).said.code).toBe(
          'AUTH_REJECTED',
        )
        const nobody = await world.ask(SSH, 'ssh-certificate', {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: '{}',
        })
        expect(nobody.status).toBe(401)
        expect((await world.rows('access.decide'))[0]).toMatchObject({ hostname: SSH, code: 'LOGIN_REQUIRED' })
      })

      it('lasts five minutes unless the rule says otherwise, from a minute ago', async () => {
        const now = Date.now() / 1000
        const usual = readSshCertificate((await world.certify(SSH)).said.certificate ?? '')
        expect(usual.validBefore - usual.validAfter).toBe(360)
        expect(usual.validAfter).toBeLessThanOrEqual(now - 59)
        await world.permit(SSH, { ssh: { principals: ['deploy'], seconds: 3600 } })
        const long = readSshCertificate((await world.certify(SSH)).said.certificate ?? '')
        expect(long.validBefore - long.validAfter).toBe(3660)
        await world.permit(SSH, { ssh: { principals: ['deploy'] } })
      })

      it('never past what they were let in by', async () => {
        const ending = await world.token('ending', { expiresInSeconds: 100 })
        await world.permit(SSH, { ssh: { principals: ['deploy'], seconds: 86_400 } }, ['ci', 'ending'])
        const now = Date.now() / 1000
        const bound = readSshCertificate((await world.certify(SSH, { as: ending })).said.certificate ?? '')
        expect(bound.validBefore).toBeLessThanOrEqual(now + 101)
        expect(readSshCertificate((await world.certify(SSH)).said.certificate ?? '').validBefore).toBeGreaterThan(
          now + 86_000,
        )
        await world.permit(SSH, { ssh: { principals: ['deploy'] } })
      })

      it.each([
        ['no names at all', undefined],
        [
          'the name of an address, which a machine has none of',
          { ssh: { principals: [{ emailLocalPart: 'example.com' }] } },
        ],
        ['a claim that it does not have', { ssh: { principals: [{ claim: 'unix_name' }] } }],
        ['one name, and a claim that it does not have', { ssh: { principals: ['deploy', { claim: 'unix_name' }] } }],
      ])('nobody for whom the rule has %s', async (_what, what) => {
        await world.permit(SSH, what)
        expect((await world.certify(SSH)).said).toMatchObject({ code: 'ACCESS_DENIED', status: 403 })
        expect((await world.rows('ssh-certificate.refuse'))[0]).toMatchObject({ hostname: SSH, code: 'ACCESS_DENIED' })
        await world.permit(SSH, { ssh: { principals: ['deploy'] } })
        expect((await world.certify(SSH)).status).toBe(200)
      })

      it('rules that permit what SSH does not know are not saved', async () => {
        for (const ssh of [
          { principals: ['root,ann'] },
          { principals: [] },
          { principals: [{ emailLocalPart: '*' }] },
          { seconds: 1e6 },
          { users: ['ann'] },
        ])
          await expect(world.permit(SSH, { ssh })).rejects.toMatchObject({
            code: 'BAD_USAGE',
            message: expect.stringMatching(/permit: ssh/),
          })
        const apply = {
          access: {
            version: 1,
            applications: [
              {
                hostname: SSH,
                tunnel: 'home',
                protocols: ['ssh'],
                rules: [{ name: 'x', action: 'allow', include: [], permit: { ssh: null } }],
              },
            ],
          },
        }
        await expect(
          world.site.edge.administration.call('access.apply', { body: apply } as never),
        ).rejects.toMatchObject({
          code: 'BAD_USAGE',
        })
        await world.permit(SSH, { ssh: { principals: ['deploy'] }, other: { anything: true } })
        await world.permit(SSH, { ssh: { principals: ['deploy'] } })
      })
    })

    describe('what is refused', () => {
      it.each([
        ['another page of the same site', { origin: 'https://web.localhost' }],
        ['a page of the application itself', { 'sec-fetch-site': 'same-origin' }],
        ['a sandboxed page', { origin: 'null' }],
      ])('row 39: a browser’s request, by %s, whoever is signed in there', async (_what, headers) => {
        expect((await world.certify(SSH, { headers })).said).toMatchObject({ code: 'ACCESS_DENIED' })
        expect((await world.certify(SSH)).status).toBe(200)
      })

      it.each([
        ['a form', { headers: { 'content-type': 'text/plain' } }, 'BAD_USAGE'],
        ['no JSON', { body: 'publicKey' }, 'BAD_USAGE'],
        ['a member twice', { body: '{"publicKey":"a","publicKey":"b"}' }, 'BAD_USAGE'],
        ['more than a key', { body: '{"publicKey":"a","principals":["root"]}' }, 'BAD_USAGE'],
        ['a list', { body: '["publicKey"]' }, 'BAD_USAGE'],
        ['a key that is none', { publicKey: 'ssh-ed25519 AAAA' }, 'BAD_USAGE'],
        ['two keys', { publicKey: 'ssh-ed25519 AAAA\nssh-ed25519 AAAA' }, 'BAD_USAGE'],
        ['megabytes', { body: JSON.stringify({ publicKey: 'A'.repeat(2_000_000) }) }, 'REQUEST_TOO_LARGE'],
      ] as [string, object, string][])('row 106: %s', async (_what, more, code) => {
        expect((await world.certify(SSH, more)).said).toMatchObject({ code })
      })

      it('row 106: megabytes that do not say how many they are', async () => {
        const body = JSON.stringify({ publicKey: 'A'.repeat(2_000_000) })
        const answer = await slowly(SSH, { ...shown(world.ci), 'transfer-encoding': 'chunked' }, body, async () => {})
        expect([answer.status, JSON.parse(answer.text).code]).toEqual([413, 'REQUEST_TOO_LARGE'])
      })

      it('a certificate where the key belongs', async () => {
        const { said } = await world.certify(SSH)
        expect((await world.certify(SSH, { publicKey: said.certificate ?? '' })).said).toMatchObject({
          code: 'BAD_USAGE',
          detail: expect.stringMatching(/is a certificate/),
        })
      })

      it('other methods, and other spellings of the paths', async () => {
        expect((await world.ask(SSH, 'ssh-certificate')).status).toBe(405)
        expect((await world.ask(SSH, 'ssh-ca.pub', { method: 'POST' })).status).toBe(405)
        for (const path of ['ssh-ca.pub/', 'SSH-CA.PUB', 'ssh-certificate/x', 'ssh-ca'])
          expect((await world.ask(SSH, path, { headers: shown(world.ci) })).status).toBe(404)
      })

      it('whoever is put out while their key is on its way', async () => {
        const leaving = await world.token('leaving')
        await world.permit(SSH, { ssh: { principals: ['deploy'] } }, ['ci', 'leaving'])
        const body = JSON.stringify({ publicKey: publicKeyOf(await createSshKey('x')) })
        const before = (await world.rows('ssh-certificate.issue')).length
        const answer = await slowly(SSH, { ...shown(leaving) }, body, () =>
          world.site.edge.administration.call('service-token.revoke', { params: { token: 'leaving' } } as never),
        )
        expect([answer.status, JSON.parse(answer.text).code]).toEqual([expect.any(Number), 'ACCESS_ENDED'])
        expect((await world.rows('ssh-certificate.issue')).length).toBe(before)
        const still = await slowly(SSH, shown(world.ci), body, async () => {})
        expect(still.status).toBe(200)
        await world.permit(SSH, { ssh: { principals: ['deploy'] } })
      })
    })

    /** A request whose body waits for something in its middle. */
    async function slowly(hostname: string, headers: object, body: string, meanwhile: () => Promise<unknown>) {
      const { port } = world.site.edge
      const before = world.site.edge.counts().admitted
      const asked = {
        ...{ host: '127.0.0.1', port, servername: hostname, rejectUnauthorized: false, agent: false as const },
        ...{ method: 'POST', path: '/.postern/ssh-certificate' },
        headers: {
          host: `${hostname}:${port}`,
          'content-type': 'application/json',
          ...(!('transfer-encoding' in headers) && { 'content-length': body.length }),
          ...headers,
        },
      }
      return new Promise<{ status: number; text: string }>((resolve, reject) => {
        const asking = request(asked, answer => {
          let text = ''
          answer.setEncoding('utf8').on('data', chunk => (text += chunk))
          answer.on('end', () => resolve({ status: answer.statusCode ?? 0, text })).on('error', reject)
        })
        asking.on('error', reject).setTimeout(20_000, () => asking.destroy(new Error('no answer')))
        asking.write(body.slice(0, 20))
        // It has been let in by then.
        const admitted = async () => {
          await expect.poll(() => world.site.edge.counts().admitted, { timeout: 10_000 }).toBe(before + 1)
          await meanwhile()
          asking.end(body.slice(20))
        }
        admitted().catch(reject)
      })
    }
  },
)
