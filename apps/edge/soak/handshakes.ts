// Row 91: TLS handshakes with and without a client certificate that are left, or held, at each of their messages. Nothing may stay
// open, nothing may surprise the process, memory stays as it was, and others connect throughout.
import { readdirSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  createAuthority,
  createCertificateRequest,
  issueCertificate,
  makeKey,
  readCertificateRequest,
} from '@postern/pki'
import { certificatesOfDevCa } from '../dist/front/certificates.js'
import { openDevCa } from '../dist/front/devca.js'
import { Front } from '../dist/front/front.js'
import { FRONT_LIMITS } from '../dist/front/limits.js'
import { type Manner, visitIn } from '../test/aborts.ts'
import { generator } from '../test/hello.ts'

export const stated = { handshakes: 100_000, seed: 1 }

const AT_ONCE = 25
const log = { debug() {}, info() {}, warn() {}, error() {} }
const REQUEST = 'GET / HTTP/1.1\r\nHost: a.localhost\r\nConnection: close\r\n\r\n'
/** Milliseconds for a handshake here, so that those that are held are gone soon. */
const HEAD_TIME = 1000

export default async function run({
  handshakes = 0,
  seed = 1,
}: Readonly<Record<string, number>>): Promise<Record<string, number>> {
  let surprises = 0
  process.on('uncaughtException', () => {
    surprises += 1
  })
  const folder = await mkdtemp(join(tmpdir(), 'postern-handshakes-'))
  const { own, rule } = await certificates()
  const front = new Front({
    certificates: await certificatesOfDevCa(await openDevCa(join(folder, 'ca')), 'edge.localhost', () => true),
    limits: { ...FRONT_LIMITS, headTime: HEAD_TIME },
    log,
    teamDomain: 'edge.localhost',
    certificateRule: hostname => (hostname === 'a.localhost' ? rule : undefined),
    exchange: exchange => void exchange.response.end('good'),
    upgrade: () => {},
    isTransports: () => false,
  })
  const { port } = await front.listen('127.0.0.1', 0, { signal: AbortSignal.timeout(10_000), log })
  const random = generator(seed)
  const visit = (manner: Manner) => {
    const maxVersion = random(2) === 0 ? 'TLSv1.2' : 'TLSv1.3'
    const servername = random(4) === 0 ? 'b.localhost' : 'a.localhost'
    return visitIn(manner, port, { servername, maxVersion, ...(random(2) === 0 ? own : {}) }, REQUEST)
  }
  const settled = async () => {
    for (let tries = 0; front.connections > 0; tries += 1) {
      if (tries > 300) throw new Error(`${front.connections} connections are left`)
      await sleep(100)
    }
  }
  const many = async (count: number) => {
    for (let done = 0; done < count; done += AT_ONCE) {
      await Promise.all(Array.from({ length: AT_ONCE }, () => visit(mannerOf(random))))
      const [good] = [await visitIn({}, port, { servername: 'a.localhost', ...own }, REQUEST)]
      if (!good) throw new Error(`nobody was served after ${done} handshakes`)
    }
    await settled()
  }
  await many(Math.min(handshakes, 2000))
  const before = { files: readdirSync('/proc/self/fd').length, rss: await rss() }
  await many(handshakes)
  const left = readdirSync('/proc/self/fd').length - before.files
  const grown = Math.round((await rss()) - before.rss)
  await front.close()
  await rm(folder, { recursive: true })
  if (left > 0 || surprises > 0) throw new Error(`${left} descriptors left, ${surprises} surprises`)
  return { descriptorsLeft: left, surprises, rssGrownMiB: grown, rssMiB: Math.round(await rss()) }
}

function mannerOf(random: (below: number) => number): Manner {
  if (random(1000) === 0) return { holds: random(3) }
  const by = (['reset', 'end', 'destroy'] as const)[random(3)] ?? 'reset'
  return { leaves: { after: random(9), by }, ...(random(10) === 0 ? { record: 1 + random(200) } : {}) }
}

async function certificates() {
  const ca = await createAuthority({ commonName: 'Soak', days: 2 })
  const key = await makeKey()
  const { publicKey } = await readCertificateRequest(await createCertificateRequest(key))
  const { cert } = await issueCertificate(ca, {
    publicKey,
    commonName: 'soak',
    san: [],
    seconds: 86_400,
    usage: 'client',
  })
  return { own: { cert, key }, rule: { key: 'soak', certificates: [ca.cert] } }
}

/** MiB, after what is garbage is gone where that can be had. */
async function rss(): Promise<number> {
  globalThis.gc?.()
  await sleep(100)
  return process.memoryUsage.rss() / 2 ** 20
}
