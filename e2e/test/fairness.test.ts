import { connect as connectHttp2 } from 'node:http2'
import { connect, type TLSSocket } from 'node:tls'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fetchTrusting, type Site, startSite, startWebOrigin, type WebOrigin } from '../world/site.ts'
import { Visitor } from '../world/visitor.ts'

const PASSWORD = 'correct horse battery staple'
const EMAIL = 'ann@example.com'
const APP = 'wiki.localhost'
const MIB = 1024 * 1024
/** More than all there is between the service and a reader holds. */
const BIG = 32 * MIB
const STARTS = 300
const STRANGERS = 10_000
const AT_ONCE = 100

describe('who wants much, or never ends, and everybody else', { timeout: 60_000 }, () => {
  let web: WebOrigin
  let site: Site
  let cookie: string
  const unfinished = new Set<object>()
  /** What is let in while nobody asks for anything: the daemon. */
  let idle: number

  beforeAll(async () => {
    const chunk = Buffer.alloc(64 * 1024, 'x')
    web = await startWebOrigin((request, response) => {
      if (request.url !== '/big') return void response.end('page')
      response.setHeader('content-length', BIG)
      unfinished.add(response)
      response.on('close', () => unfinished.delete(response))
      response.on('finish', () => unfinished.delete(response))
      let left = BIG
      const more = () => {
        while (left > 0) {
          left -= chunk.length
          if (!response.write(chunk)) return
        }
        response.end()
      }
      response.on('drain', more)
      more()
    })
    const rules = [{ name: 'staff', action: 'allow' as const, include: [{ email: EMAIL }] }]
    site = await startSite({ [APP]: { protocols: ['http'], service: web.service, rules } })
    await site.person(EMAIL, PASSWORD)
    const visitor = new Visitor()
    expect((await visitor.signIn(site.at(APP), EMAIL, PASSWORD)).body).toBe('page')
    cookie = visitor.cookieOf(APP)
    idle = site.edge.counts().admitted
  })
  afterAll(async () => {
    await site?.[Symbol.asyncDispose]()
    await web?.[Symbol.asyncDispose]()
  })

  /** Asks for the big answer and reads none of it. */
  async function slowReader() {
    const socket = tlsTo(site.edge.port)
    await new Promise(resolve => socket.once('secureConnect', resolve))
    socket.write(`GET /big HTTP/1.1\r\nHost: ${APP}\r\nCookie: ${cookie}\r\n\r\n`)
    await new Promise(resolve => socket.once('readable', resolve))
    return socket
  }

  const pages = async () =>
    Promise.all(
      Array.from({ length: 20 }, async () => (await fetchTrusting(site.at(APP), { headers: { cookie } })).body),
    )

  it('row 143: readers that stop hold up nobody behind the same daemon, and get everything once they go on', async () => {
    const slow = await Promise.all(Array.from({ length: 8 }, slowReader))
    const whole = await fetchTrusting(`${site.at(APP)}/big`, { headers: { cookie } })
    expect([whole.body.length, unfinished.size]).toEqual([BIG, slow.length])
    expect(new Set(await pages())).toEqual(new Set(['page']))
    const [first, ...others] = slow
    let bytes = 0
    for await (const part of first as AsyncIterable<Buffer>) {
      bytes += part.length
      if (bytes >= BIG) break
    }
    expect(bytes).toBeGreaterThanOrEqual(BIG)
    for (const socket of others) socket.destroy()
    await expect.poll(() => site.edge.counts().admitted, { timeout: 10_000 }).toBe(idle)
  })

  it('row 143: the same within one connection of HTTP/2', async () => {
    const session = connectHttp2(site.at(APP), { createConnection: () => tlsTo(site.edge.port, 'h2') })
    const stopped = Array.from({ length: 4 }, () => session.request({ ':path': '/big', cookie }).pause())
    await Promise.all(stopped.map(stream => new Promise(resolve => stream.once('response', resolve))))
    const answers = Array.from({ length: 20 }, async () => {
      const stream = session.request({ ':path': '/', cookie })
      return Buffer.concat(await stream.toArray()).toString()
    })
    expect(new Set(await Promise.all(answers))).toEqual(new Set(['page']))
    session.destroy()
    await expect.poll(() => site.edge.counts().admitted, { timeout: 10_000 }).toBe(idle)
  })

  it('row 133: sign-ins begun and left, and strangers’ hostnames, leave nothing in memory; who is signed in is served', async () => {
    const start = () => fetchTrusting(site.at(APP))
    const flood = async (starts: number, strangers: number) => {
      for (let n = 0; n < starts; n += 20) {
        const answers = await Promise.all(Array.from({ length: 20 }, start))
        for (const { status, headers } of answers) {
          expect(status).toBe(303)
          expect((await fetchTrusting(headers.location ?? '')).body).toContain('name="password"')
        }
      }
      for (let n = 0; n < strangers; n += AT_ONCE) expect(await knock(site.edge.port, n)).toBe(AT_ONCE)
    }
    await flood(40, 1000)
    // When who is signed in was seen last is none of theirs.
    const kept = () => [...site.edge.store.snapshot.records].filter(([namespace]) => namespace !== 'session-seen')
    const records = kept()
    const before = held()
    await flood(STARTS, STRANGERS)
    expect(held() - before).toBeLessThan(8)
    expect(kept(), 'nothing of them is kept').toEqual(records)
    expect(new Set(await pages())).toEqual(new Set(['page']))
  })
})

/** As many requests in one connection, for hostnames that nobody has; how many were answered with 404. */
async function knock(port: number, from: number): Promise<number> {
  const session = connectHttp2(`https://${APP}:${port}`, { createConnection: () => tlsTo(port, 'h2') })
  const answers = Array.from({ length: AT_ONCE }, async (_, n) => {
    const stream = session.request({ ':authority': `stranger-${from + n}.example` })
    const status = new Promise(resolve => stream.once('response', headers => resolve(headers[':status'])))
    await stream.toArray()
    return status
  })
  const all = await Promise.all(answers)
  session.close()
  return all.filter(status => status === 404 || status === 421).length
}

function tlsTo(port: number, ...ALPNProtocols: string[]): TLSSocket {
  const place = { host: '127.0.0.1', port, servername: APP, rejectUnauthorized: false }
  return connect({ ...place, ...(ALPNProtocols.length > 0 && { ALPNProtocols }) }).on('error', () => {})
}

/** Mebibytes that this process, the edge with it, holds on to. */
function held(): number {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  for (let n = 0; n < 3; n++) collect()
  const { heapUsed, external } = process.memoryUsage()
  return (heapUsed + external) / MIB
}
