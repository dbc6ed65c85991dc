import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer, type DetailedPeerCertificate } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { CertificateRule } from '../src/front/handshake.ts'
import { ask, type Pair, reach } from './certificate-world.ts'
import { type FrontWorld, startFront } from './front-world.ts'

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')

/** Certificates by openssl, without key identifiers: what is above what is by names alone. */
class Openssl {
  readonly #folder: string

  constructor(folder: string) {
    this.#folder = folder
  }

  /** The same CA, key and name, in another certificate. */
  renew(file: string, of: string, days: number): Pair {
    const path = (end: string) => join(this.#folder, end)
    const argv = ['x509', '-in', path(`${of}.pem`), '-signkey', path(`${of}.key`), '-days', String(days)]
    execFileSync('openssl', [...argv, '-out', path(`${file}.pem`)], { stdio: 'pipe' })
    return { cert: readFileSync(path(`${file}.pem`), 'utf8'), key: readFileSync(path(`${of}.key`), 'utf8') }
  }

  /** @param by file name of the issuer; itself without */
  make(file: string, name: string, by = file, more = 'basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign'): Pair {
    const path = (end: string) => join(this.#folder, end)
    const run = (...argv: string[]) => execFileSync('openssl', argv, { stdio: 'pipe' })
    writeFileSync(path('x.cnf'), `${more}\nsubjectKeyIdentifier=none\nauthorityKeyIdentifier=none\n`)
    run(
      'req',
      '-new',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-subj',
      `/CN=${name}`,
      '-keyout',
      path(`${file}.key`),
      '-out',
      path('x.csr'),
    )
    const issuer =
      by === file
        ? ['-signkey', path(`${file}.key`)]
        : ['-CA', path(`${by}.pem`), '-CAkey', path(`${by}.key`), '-CAcreateserial']
    run(
      'x509',
      '-req',
      '-in',
      path('x.csr'),
      '-days',
      '2',
      '-extfile',
      path('x.cnf'),
      ...issuer,
      '-out',
      path(`${file}.pem`),
    )
    return { cert: readFileSync(path(`${file}.pem`), 'utf8'), key: readFileSync(path(`${file}.key`), 'utf8') }
  }
}

const LEAF = 'basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth'
const der = (pem: string) => new X509Certificate(pem).raw

describe.skipIf(!peers.includes('openssl'))('row 86: certificates that are sent along', () => {
  const rules = new Map<string, CertificateRule>()
  let folder: string
  let openssl: Openssl
  let world: FrontWorld
  let [a, b, leaf]: Pair[] = []
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'postern-chains-'))
    openssl = new Openssl(folder)
    ;[a, b, leaf] = [openssl.make('a', 'A'), openssl.make('b', 'B'), openssl.make('leaf', 'leaf', 'a', LEAF)]
    world = await startFront({ rules })
    rules.set('a.localhost', { key: 'both', certificates: [a.cert, b.cert] })
  })
  afterAll(async () => {
    await world[Symbol.asyncDispose]()
    await rm(folder, { recursive: true })
  })

  const presented = async (pair: Pair | undefined, behind: readonly (Pair | undefined)[] = []) => {
    world.seen.length = 0
    const cert = [pair, ...behind].map(one => one?.cert).join('')
    expect(await ask(world.port, 'a.localhost', { cert, key: pair?.key })).toMatchObject({ status: 200 })
    const { peerCertificate, peerCertificateError, peerCertificateChain } = world.seen[0]?.presented ?? {}
    return { peerCertificate, peerCertificateError, peerCertificateChain }
  }
  const good = () => ({
    peerCertificate: der(leaf?.cert ?? ''),
    peerCertificateError: undefined,
    peerCertificateChain: [der(a?.cert ?? '')],
  })

  test('one that bears the name of a CA, and another CA’s as its issuer, does not change whose the leaf is', async () => {
    openssl.make('as-b', 'B')
    const bridge = openssl.make('bridge', 'A', 'as-b')
    expect(await presented(leaf)).toEqual(good())
    expect(await presented(leaf, [bridge])).toEqual(good())

    // The danger: Node puts the chain that it shows together by names.
    const options = { ...openssl.make('server', 'server'), ca: [a?.cert ?? '', b?.cert ?? ''], requestCert: true }
    const shown: string[] = []
    const server = createServer(options, socket => {
      for (let one: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true); one; ) {
        shown.push(String(one.subject.CN))
        one = one.issuerCertificate === one ? undefined : one.issuerCertificate
      }
      socket.on('error', () => {}).end()
    })
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const cert = `${leaf?.cert}${bridge.cert}`
    const socket = await reach((server.address() as AddressInfo).port, 'a.localhost', { cert, key: leaf?.key })
    await once(socket.resume(), 'close')
    server.close()
    expect(shown).toEqual(['leaf', 'A', 'B'])
  })

  test('somebody else’s certificate behind one’s own says nothing', async () => {
    const own = openssl.make('own', 'leaf')
    expect(await presented(own, [leaf, a])).toMatchObject({
      peerCertificate: der(own.cert),
      peerCertificateError: expect.any(String),
      peerCertificateChain: [],
    })
    expect(await presented(leaf, [own, a, b])).toEqual(good())
  })

  test('a leaf that signs a leaf', async () => {
    const below = openssl.make('below', 'below', 'leaf', LEAF)
    expect(await presented(below, [leaf])).toMatchObject({
      peerCertificate: der(below.cert),
      peerCertificateError: expect.any(String),
      peerCertificateChain: [],
    })
  })

  test('more of them than anybody needs are not looked at, nor do they harm', async () => {
    const many = Array.from({ length: 20 }, (_, n) => openssl.make(`many-${n}`, 'A'))
    expect(await presented(leaf, many)).toEqual(good())
    const middle = openssl.make('middle', 'middle', 'a')
    const low = openssl.make('low', 'low', 'middle', LEAF)
    expect(await presented(low, [middle, ...many])).toMatchObject({
      peerCertificateError: undefined,
      peerCertificateChain: [der(middle.cert), der(a?.cert ?? '')],
    })
    // OpenSSL finds it; nobody says whose it is.
    expect(await presented(low, [...many, middle])).toMatchObject({ peerCertificateChain: [] })
  })

  test('row 149: a CA that was renewed with its key: the certificate that is good now stands above, wherever the other is', async () => {
    const [ca, other] = [a?.cert ?? '', b?.cert ?? '']
    const ended = openssl.renew('ended', 'a', -1)
    expect(new X509Certificate(ended.cert).validToDate.getTime()).toBeLessThan(Date.now())
    for (const certificates of [
      [ended.cert, ca],
      [ca, ended.cert],
    ]) {
      rules.set('a.localhost', { key: 'renewed', certificates })
      expect(await presented(leaf)).toEqual(good())
    }
    const middle = openssl.make('renewed', 'renewed', 'a')
    const low = openssl.make('under', 'under', 'renewed', LEAF)
    rules.set('a.localhost', { key: 'ended', certificates: [ended.cert, ca] })
    expect(await presented(low, [ended, middle])).toMatchObject({
      peerCertificateError: undefined,
      peerCertificateChain: [der(middle.cert), der(ca)],
    })
    rules.set('a.localhost', { key: 'ended alone', certificates: [ended.cert] })
    expect(await presented(leaf)).toMatchObject({
      peerCertificateError: expect.any(String),
      peerCertificateChain: [der(ended.cert)],
    })
    rules.set('a.localhost', { key: 'both', certificates: [ca, other] })
  })

  test('row 91: nobody has us compute with a key that no CA vouches for', async () => {
    const verify = vi.spyOn(X509Certificate.prototype, 'verify')
    const own = openssl.make('strange', 'strange')
    const chain = ['s1', 's2', 's3'].map(file => openssl.make(file, 'strange', 'strange'))
    const low = openssl.make('strange-leaf', 'strange leaf', 's3', LEAF)
    expect(await presented(low, [...chain, own])).toMatchObject({
      peerCertificateError: expect.any(String),
      peerCertificateChain: [],
    })
    expect(verify).not.toHaveBeenCalled()
    expect(await presented(leaf)).toEqual(good())
    expect(verify).toHaveBeenCalledTimes(1)
    verify.mockRestore()
  })
})
