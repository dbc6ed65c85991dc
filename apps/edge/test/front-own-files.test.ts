import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { certificatesOfFiles } from '../src/front/certificates.ts'
import { Expiry } from '../src/front/expiry.ts'
import type { CertificateRule } from '../src/front/handshake.ts'
import { ask, askOver, authorityOf, type Pair, reach, reach2, type TestAuthority } from './certificate-world.ts'
import { ask2, startFront } from './front-world.ts'

const DAY = 86_400_000
const said: string[] = []
const say =
  (level: string) =>
  (message: string, fields?: object): void =>
    void said.push(`${level}: ${message} ${JSON.stringify(fields)}`)
const log = { debug() {}, info: say('info'), warn: say('warn'), error: say('error') }
const call = { signal: new AbortController().signal, log }

let folder: string
let files: { cert: string; key: string }
let ca: TestAuthority
let ann: Pair
const rules = new Map<string, CertificateRule>()
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'postern-own-files-'))
  files = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') }
  ca = await authorityOf('Ours')
  ann = await ca.issue('ann')
  rules.set('a.localhost', ca.rule)
})
beforeEach(() => {
  said.length = 0
})
afterEach(() => {
  vi.useRealTimers()
})
afterAll(() => rm(folder, { recursive: true }))

/** @returns the serial number of the certificate that is in the files now */
async function renew(seconds = 3600): Promise<string> {
  const { cert, key } = await ca.issue('every hostname', { usage: 'server', seconds })
  await writeFile(files.cert, cert)
  await writeFile(files.key, key, { mode: 0o600 })
  return new X509Certificate(cert).serialNumber
}

describe('row 149: own certificate files', () => {
  test('of both kinds of server are renewed while connections live, and no connection is dropped', async () => {
    const first = await renew()
    const certificates = await certificatesOfFiles(files, call)
    await using world = await startFront({ rules, certificates })
    const { port } = world
    const hostnames = ['a.localhost', 'db.localhost']
    const serials = () =>
      Promise.all(
        hostnames.map(async hostname => {
          const socket = await reach(port, hostname, ann)
          const serial = socket.getPeerX509Certificate()?.serialNumber
          expect(await askOver(socket, hostname)).toMatchObject({ status: 200 })
          socket.destroy()
          return serial
        }),
      )
    const there = await Promise.all(hostnames.map(hostname => reach(port, hostname, ann)))
    const there2 = hostnames.map(hostname => reach2(port, hostname, ann))
    const gone = vi.fn()
    for (const one of [...there, ...there2]) one.once('close', gone)
    const all = async () => {
      for (const [n, hostname] of hostnames.entries()) {
        const [over1, over2] = [there[n], there2[n]]
        if (over1 === undefined || over2 === undefined) throw new Error('one each')
        expect(await askOver(over1, hostname)).toMatchObject({ status: 200 })
        expect(await ask2(over2, { ':path': '/' })).toMatchObject({ headers: { ':status': 200 } })
      }
    }
    await all()
    expect(await serials()).toEqual([first, first])
    for (let n = 0; n < 3; n += 1) {
      const next = await renew()
      const read = await certificates.read?.()
      if (read === undefined) throw new Error('there is something new')
      world.front.setCertificates(read)
      expect(await serials()).toEqual([next, next])
      await all()
    }
    expect(await certificates.read?.()).toBeUndefined()
    expect(gone).not.toHaveBeenCalled()
    const { peerCertificate, peerCertificateError } =
      world.seen.find(one => one.hostname === 'a.localhost')?.presented ?? {}
    expect([peerCertificate, peerCertificateError]).toEqual([new X509Certificate(ann.cert).raw, undefined])
    for (const session of there2) session.destroy()
  })

  test('rotation of the CA of visitors, with both for a while, drops nobody who is good by what is left', async () => {
    await renew()
    await using world = await startFront({ rules, certificates: await certificatesOfFiles(files, call) })
    const next = await authorityOf('Ours')
    const bob = await next.issue('bob')
    const status = async (pair: Pair) => {
      world.seen.length = 0
      expect(await ask(world.port, 'a.localhost', pair)).toMatchObject({ status: 200 })
      return world.seen[0]?.presented.peerCertificateError
    }
    expect([await status(ann), await status(bob)]).toEqual([undefined, expect.any(String)])
    rules.set('a.localhost', { key: 'both', certificates: [ca.cert, next.cert] })
    expect([await status(ann), await status(bob)]).toEqual([undefined, undefined])
    rules.set('a.localhost', { key: 'next', certificates: [next.cert] })
    expect([await status(ann), await status(bob)]).toEqual([expect.any(String), undefined])
    rules.set('a.localhost', ca.rule)
  })

  test('one that has ended: clients refuse it, at either kind of server, until there is another', async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() - 3_600_000 })
    await renew(60)
    vi.useRealTimers()
    const certificates = await certificatesOfFiles(files, call)
    expect(said).toEqual([expect.stringMatching(/^error: the certificate has ended/)])
    await using world = await startFront({ rules, certificates })
    const trusting = { ...ann, ca: ca.cert, rejectUnauthorized: true, checkServerIdentity: () => undefined }
    for (const hostname of ['a.localhost', 'db.localhost'])
      await expect(reach(world.port, hostname, trusting)).rejects.toMatchObject({ code: 'CERT_HAS_EXPIRED' })
    await renew()
    world.front.setCertificates((await certificates.read?.()) ?? {})
    for (const hostname of ['a.localhost', 'db.localhost']) {
      const socket = await reach(world.port, hostname, trusting)
      socket.destroy()
      await once(socket, 'close')
    }
  })

  test('its end is said 30, 7 and one day before and when it is there, once each, and of the next one again', async () => {
    const { cert } = await ca.issue('every hostname', { usage: 'server', seconds: 9 * 86_400 })
    const leaf = new X509Certificate(cert)
    const end = leaf.validToDate.getTime()
    const expiry = new Expiry('cert.pem', log)
    vi.useFakeTimers({ toFake: ['Date'] })
    const saidAt = (days: number) => {
      said.length = 0
      vi.setSystemTime(end - days * DAY)
      expiry.look(leaf)
      expiry.look(leaf)
      return said.map(line => line.replace(/ .*"days":/, ' ').replace(/,.*/, ''))
    }
    expect([31, 30.5, 30, 29, 7.1, 7, 6, 1.5, 0.9, 0.1, -0.1, -5].map(saidAt)).toEqual([
      [],
      [],
      ['warn: 30'],
      [],
      [],
      ['warn: 7'],
      [],
      [],
      ['warn: 0'],
      [],
      ['error: -1'],
      [],
    ])
    // Started anew in the middle, and renewed.
    said.length = 0
    vi.setSystemTime(end - 5 * DAY)
    const again = new Expiry('cert.pem', log)
    again.look(leaf)
    expect(said).toHaveLength(1)
    vi.useRealTimers()
    again.look(new X509Certificate((await ca.issue('every hostname', { usage: 'server' })).cert))
    expect(said).toHaveLength(2)
    expect(said.join()).not.toContain('PRIVATE')
  })
})
