import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '@postern/dev'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ClientOptions, WebSocket } from 'ws'
import { type CertificateSite, startCertificateSite } from '../world/certificate-site.ts'
import { temporaryFolder } from '../world/folder.ts'
import { CA, type InFiles, LEAF, noOpenssl, OpensslCa, openssl } from '../world/openssl-ca.ts'
import { Running } from '../world/program.ts'

const CODES = { BAD_USAGE: 2, LOGIN_REQUIRED: 10, ACCESS_DENIED: 14, CERTIFICATE_EXPIRED: 16, ACCESS_ENDED: 42 }
const noCurl = !(process.env.POSTERN_PEERS ?? '').split(' ').includes('curl')

// Somebody's own CA, made with openssl: EC, with one between it and its leaves; our programs, curl, and one daemon.
describe.skipIf(noOpenssl)('client certificates (needs: apt-get install openssl)', { timeout: 60_000 }, () => {
  const folder = temporaryFolder()
  const at = (name: string) => join(folder.path, name)
  let world: CertificateSite
  let staff: OpensslCa
  let ann: InFiles
  let bob: InFiles

  beforeAll(async () => {
    staff = OpensslCa.root(at('staff'), '/O=Example/CN=Staff CA', CA, 'P-384')
    ann = staff.issue({ extensions: `${LEAF}subjectAltName=email:ann@example.com\n` })
    bob = staff.issue({ subject: '/CN=Bob', keyType: 'rsa' })
    world = await startCertificateSite()
    await world.importCa('staff', staff.cert)
    for (const hostname of ['web.localhost', 'db.localhost', 'ssh.localhost'])
      await world.rules(hostname, { name: 'staff', action: 'allow', include: [{ certificate: { ca: 'staff' } }] })
    await world.rules('plain.localhost', { name: 'p', action: 'allow', include: [{ serviceToken: world.token.id }] })
  }, 60_000)
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]()
    folder[Symbol.dispose]()
  })

  const address = (hostname: string) => `${hostname}:${world.site.edge.port}`
  const shown = ({ certFile, keyFile }: InFiles) => ['--cert', certFile, '--key', keyFile]
  const rule = (hostname: string, one: object) => world.rules(hostname, { name: 'r', action: 'allow', ...one })

  /** What a program says and ends with; its stdin is ended once it has said what is waited for. */
  async function postern(args: readonly string[], until?: RegExp) {
    const running = world.site.postern(args)
    if (until !== undefined) await running.says(until)
    running.child.stdin?.end()
    return { exit: await running.exit, out: running.stdout, err: running.stderr }
  }
  const greeted = (protocol: string, ...more: string[]) =>
    postern(
      ['access', protocol, '--hostname', address(`${protocol === 'tcp' ? 'db' : protocol}.localhost`), ...more],
      /SSH-2\.0-hello/,
    )
  const turnedDown = async (code: keyof typeof CODES, ...args: string[]) => {
    const before = { ...world.tcp, web: world.web.connections }
    const { exit, err } = await postern(args)
    expect([exit, err], err).toEqual([CODES[code], expect.stringContaining(code)])
    expect({ ...world.tcp, web: world.web.connections }).toEqual(before)
  }

  it.each(['tcp', 'ssh'])('postern access %s: with it, by name or by its files alone; not without', async protocol => {
    const place = ['access', protocol, '--hostname', address(`${protocol === 'tcp' ? 'db' : protocol}.localhost`)]
    for (const words of [['--auth', 'mtls', ...shown(ann)], shown(ann), shown(bob)])
      expect(await greeted(protocol, ...words)).toMatchObject({ exit: 0 })
    const ended = staff.issue({ notAfter: Date.now() - 60_000 })
    await turnedDown('CERTIFICATE_EXPIRED', ...place, ...shown(ended))
    const other = OpensslCa.root(at('other')).issue()
    await turnedDown('LOGIN_REQUIRED', ...place, ...shown(other))
  })

  it('a PKCS#12 file and an encrypted key, with their passphrase in a file', async () => {
    const passphrase = at('passphrase')
    writeFileSync(passphrase, 'open sesame\n', { mode: 0o600 })
    const [pfx, key] = [at('ann.p12'), at('ann.enc')]
    const pass = ['-passout', `file:${passphrase}`]
    openssl('pkcs12', '-export', '-in', ann.certFile, '-inkey', ann.keyFile, ...pass, '-out', pfx)
    openssl('pkcs8', '-topk8', '-in', ann.keyFile, ...pass, '-out', key)
    for (const file of [pfx, key]) chmodSync(file, 0o600)
    const opened = ['--passphrase-file', passphrase]
    expect(await greeted('tcp', '--pfx', pfx, ...opened)).toMatchObject({ exit: 0 })
    expect(await greeted('tcp', '--cert', ann.certFile, '--key', key, ...opened)).toMatchObject({ exit: 0 })
    const wrong = await postern(['access', 'tcp', '--hostname', address('db.localhost'), '--pfx', pfx])
    expect(wrong).toMatchObject({ exit: 2, err: expect.stringContaining('encrypted') })
  })

  it('one of a CA between, sent with it', async () => {
    const below = staff.below('/CN=Below')
    const leaf = below.issue()
    const chain = at('chain.pem')
    writeFileSync(chain, leaf.cert + below.cert)
    expect(await greeted('tcp', '--cert', chain, '--key', leaf.keyFile)).toMatchObject({ exit: 0 })
    await turnedDown('LOGIN_REQUIRED', 'access', 'tcp', '--hostname', address('db.localhost'), ...shown(leaf))
  })

  it('both, where a rule requires both: a service token and a certificate', async () => {
    await rule('db.localhost', {
      include: [{ serviceToken: world.token.id }],
      require: [{ certificate: { ca: 'staff' } }],
    })
    const secret = at('secret')
    writeFileSync(secret, world.token.headers['postern-client-secret'] ?? '', { mode: 0o600 })
    const token = ['--id', world.token.id, '--secret-file', secret]
    const place = ['access', 'tcp', '--hostname', address('db.localhost')]
    const both = ['--auth', 'service-token', '--auth', 'mtls']
    expect(await greeted('tcp', ...both, ...token, ...shown(ann))).toMatchObject({ exit: 0 })
    await turnedDown('ACCESS_DENIED', ...place, ...token)
    await turnedDown('ACCESS_DENIED', ...place, ...shown(ann))
    await rule('db.localhost', { include: [{ certificate: { ca: 'staff' } }] })
  })

  it('what is said of flags that belong together, or to somebody else', async () => {
    const place = ['access', 'tcp', '--hostname', address('db.localhost')]
    const wrong = async (...words: string[]) => {
      const { exit, err } = await postern([...place, ...words])
      expect(exit, err).toBe(2)
      return err
    }
    expect(await wrong('--auth', 'browser-sso', '--cert', ann.certFile)).toContain('--auth mtls')
    expect(await wrong('--key', ann.keyFile)).toContain('--cert')
    expect(await wrong('--cert', ann.certFile, '--pfx', ann.certFile)).toContain('--pfx')
    expect(await wrong('--cert', ann.certFile, '--key', bob.keyFile)).toContain('is not the key of')
  })

  it.skipIf(noCurl)('curl, as it is, and postern access curl (needs: apt-get install curl)', async () => {
    const url = `https://${address('web.localhost')}/`
    const trust = ['-sS', '--cacert', world.site.caFile, '--resolve', `web.localhost:${world.site.edge.port}:127.0.0.1`]
    const curl = async (...more: string[]) => {
      const running = new Running(spawn('curl', [...trust, ...more, url]), 'curl')
      await running.exit
      return running.stdout
    }
    const told = `:${ann.cert.replace(/-----[^-]+-----|\s/g, '')}:`
    expect(await curl('--cert', ann.certFile, '--key', ann.keyFile)).toBe(told)
    expect(await curl()).toContain('LOGIN_REQUIRED')
    const ours = async (...words: string[]) => (await postern(['access', 'curl', ...words, url, '-sS'])).out
    expect(await ours(...shown(ann))).toBe(told)
    expect(await ours(...shown(staff.issue({ notAfter: Date.now() - 60_000 })))).toContain('CERTIFICATE_EXPIRED')
  })

  it('postern access http: local programs are let in by it', async () => {
    const port = await freePort()
    const url = ['--url', `localhost:${port}`]
    const running = world.site.postern([
      'access',
      'http',
      '--hostname',
      address('web.localhost'),
      ...url,
      ...shown(ann),
    ])
    await running.says(/web\.localhost:\d+ is at http:\/\/localhost:\d+/)
    const answer = await fetch(`http://localhost:${port}/`)
    expect(await answer.text()).toBe(`:${ann.cert.replace(/-----[^-]+-----|\s/g, '')}:`)
    // What the edge asks for changes: the connections that are kept are of no use, and nobody notices.
    await world.importCa('more', OpensslCa.root(at('more'), '/CN=More').cert)
    await rule('web.localhost', { include: [{ certificate: { ca: 'staff' } }, { certificate: { ca: 'more' } }] })
    expect((await fetch(`http://localhost:${port}/`)).status).toBe(200)
    await rule('web.localhost', { include: [{ certificate: { ca: 'staff' } }] })
    expect((await fetch(`http://localhost:${port}/`)).status).toBe(200)
    expect(await running.stop()).toBeLessThanOrEqual(128)
  })

  describe('row 67, row 87: revoked while it is in use', () => {
    const revoke = async (one: InFiles) => {
      const serial = openssl('x509', '-in', one.certFile, '-noout', '-serial').trim().replace('serial=', '')
      const params = { ca: 'staff' }
      await world.site.edge.administration.call('certificate.revoke', { params, body: { serial } })
    }
    const seconds = async (ended: Promise<unknown>) => {
      const since = performance.now()
      await ended
      return (performance.now() - since) / 1000
    }

    it('a TCP stream is cut within 5 s, and says why; another one goes on', async () => {
      const gone = staff.issue()
      const open = (one: InFiles) =>
        world.site.postern(['access', 'tcp', '--hostname', address('db.localhost'), ...shown(one)])
      const [theirs, other] = [open(gone), open(ann)]
      for (const one of [theirs, other]) await one.says(/SSH-2\.0-hello/)
      await revoke(gone)
      expect(await seconds(theirs.exit)).toBeLessThan(5)
      expect([await theirs.exit, theirs.stderr]).toEqual([CODES.ACCESS_ENDED, expect.stringContaining('ACCESS_ENDED')])
      other.child.stdin?.write('still here\n')
      await other.says(/still here/)
      other.child.stdin?.end()
      expect(await other.exit).toBe(0)
    })

    it('a WebSocket is closed within 5 s, and nothing new is let in', async () => {
      const gone = staff.issue()
      const options: ClientOptions & { servername: string } = {
        servername: 'web.localhost',
        headers: { host: address('web.localhost') },
        cert: gone.cert,
        key: gone.key,
        rejectUnauthorized: false,
        origin: `https://${address('web.localhost')}`,
      }
      const socket = new WebSocket(`wss://127.0.0.1:${world.site.edge.port}/`, options)
      await once(socket, 'message')
      const closed = once(socket, 'close')
      await revoke(gone)
      expect(await seconds(closed)).toBeLessThan(5)
      const requests = world.web.requests.length
      expect(await world.visit('web.localhost', { pair: gone })).toMatchObject({
        status: 403,
        code: 'CERTIFICATE_REVOKED',
      })
      expect(world.web.requests.length).toBe(requests)
      expect(await world.visit('web.localhost', { pair: ann })).toMatchObject({ status: 200 })
    })
  })

  it('nobody is asked for a certificate where no rule is about one', async () => {
    const seen = async (hostname: string, version: string) => {
      const place = ['-connect', `127.0.0.1:${world.site.edge.port}`, '-servername', hostname]
      // The edge is in this process: it must not be waited for here.
      const running = new Running(spawn('openssl', ['s_client', ...place, '-msg', version]), 's_client')
      running.child.stdin?.end()
      await running.exit
      expect(running.stdout).toContain('ServerHello')
      return running.stdout
    }
    for (const version of ['-tls1_2', '-tls1_3']) {
      for (const hostname of ['plain.localhost', 'edge.localhost', 'nobody.localhost'])
        expect(await seen(hostname, version)).not.toContain('CertificateRequest')
      expect(await seen('web.localhost', version)).toContain('CertificateRequest')
    }
  })
})
