// What services do wrong. Numbers are rows of docs/security.md: no answer that is not whole looks as if it were, and no connection
// that misbehaved carries the request of somebody else.
import { createServer } from 'node:http'
import { afterEach, describe, expect, it } from 'vitest'
import { perRequest, type RawService, rawService } from './raw-service.ts'
import { ask, at, problemIn, Rig, readAll, readUntil, rule } from './rig.ts'

const services: RawService[] = []
afterEach(async () => {
  for (const one of services.splice(0)) await one[Symbol.asyncDispose]()
})

async function answering(answer: Parameters<typeof perRequest>[0]): Promise<RawService> {
  const service = await rawService(perRequest(answer))
  services.push(service)
  return service
}

const GOOD = 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood'

describe('row 57: an answer that is none', () => {
  it.each([
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\ngood!'],
    ['a length and chunks', 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['a length that is no number', 'HTTP/1.1 200 OK\r\nContent-Length: +4\r\n\r\ngood'],
    ['no HTTP', 'SSH-2.0-OpenSSH_9.2p1\r\n'],
    ['a bare line feed in a header', 'HTTP/1.1 200 OK\r\nX-A: 1\nX-B: 2\r\nContent-Length: 0\r\n\r\n'],
    ['a header without end', `HTTP/1.1 200 OK\r\nX: ${'a'.repeat(100_000)}`],
    [
      '101 that nobody asked for',
      'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nGET / HTTP/1.1',
    ],
    ['101 without an upgrade', 'HTTP/1.1 101 Switching Protocols\r\n\r\n'],
    ['interim answers without end', 'HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n'.repeat(100)],
  ])('%s: the edge is told that there is none, and the connection is not used again', async (_what, bytes) => {
    const service = await answering((_head, socket, connection) => void socket.write(connection === 0 ? bytes : GOOD))
    await using rig = new Rig(rule(at(service.server)))
    const { text, cut } = await ask(rig, 'GET / HTTP/1.1')
    expect(problemIn(text)).toMatchObject({ code: 'ORIGIN_FAILED', status: 502, speaker: 'service' })
    expect(cut).toBe(false)
    expect(rig.answers).toMatchObject([{ status: 502, error: { code: 'ORIGIN_FAILED' } }])
    expect((await ask(rig, 'GET / HTTP/1.1')).text).toMatch(/good$/) // the allow twin
    expect(service.sockets).toHaveLength(2)
    await expect.poll(() => service.sockets[0]?.destroyed).toBe(true)
  })

  it('interim answers within reason go through', async () => {
    const service = await answering(
      (_head, socket) => void socket.write('HTTP/1.1 102 Processing\r\n\r\n'.repeat(3) + GOOD),
    )
    await using rig = new Rig(rule(at(service.server)))
    expect((await ask(rig, 'GET / HTTP/1.1')).text).toMatch(
      /^(HTTP\/1.1 102 Processing\r\n\r\n){3}HTTP\/1.1 200[\s\S]*good$/,
    )
  })

  it.each([
    ['in the middle of a chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nhalf'],
    ['between two chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n'],
    ['before its length', 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf'],
  ])('one that ends %s is cut, by FIN and by RST', async (_what, bytes) => {
    for (const how of ['end', 'resetAndDestroy'] as const) {
      const service = await answering(
        (_head, socket) => void socket.write(bytes, () => setTimeout(() => socket[how](), 30)),
      )
      await using rig = new Rig(rule(at(service.server)))
      const { text, cut } = await ask(rig, 'GET / HTTP/1.1')
      expect(text).toContain('half')
      expect(cut).toBe(true)
      expect(text).not.toContain('0\r\n\r\n')
      expect(rig.answers).toMatchObject([{ error: { code: 'ORIGIN_FAILED' } }])
    }
  })

  it('one that the end of the connection ends is whole', async () => {
    const service = await answering((_head, socket) => void socket.end('HTTP/1.1 200 OK\r\n\r\nall of it'))
    await using rig = new Rig(rule(at(service.server)))
    const { text, cut } = await ask(rig, 'GET / HTTP/1.1')
    expect([cut, text.includes('all of it'), rig.answers[0]?.error]).toEqual([false, true, undefined])
  })

  it('what is said unasked on a connection that waits is nobody’s answer', async () => {
    const service = await answering((_head, socket, connection) => {
      socket.write(GOOD)
      if (connection === 0) setTimeout(() => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison'), 20)
    })
    await using rig = new Rig(rule(at(service.server)))
    const { stream } = await rig.open()
    stream.write('GET /1 HTTP/1.1\r\nHost: a\r\n\r\n')
    await readUntil(stream, /good$/)
    await expect.poll(() => service.sockets[0]?.destroyed).toBe(true)
    stream.write('GET /2 HTTP/1.1\r\nHost: a\r\n\r\n')
    expect(await readUntil(stream, /(good|poison)$/)).toMatch(/good$/)
    expect(service.sockets).toHaveLength(2)
  })

  it('a second answer right behind the first is nobody’s either', async () => {
    const service = await answering(
      (_head, socket, connection) =>
        void socket.write(connection === 0 ? `${GOOD}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison` : GOOD),
    )
    await using rig = new Rig(rule(at(service.server)))
    const texts = [await ask(rig, 'GET /1 HTTP/1.1'), await ask(rig, 'GET /2 HTTP/1.1')].map(one => one.text)
    expect(texts.join()).not.toContain('poison')
    expect(texts[1]).toMatch(/good$/)
  })

  it('one that came before the request was sent is not taken for its answer', async () => {
    const service = await rawService(
      perRequest((_head, socket) => void socket.write(GOOD)),
      socket => void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison'),
    )
    services.push(service)
    const to = rule(at(service.server))
    const dial = to.dial.bind(to)
    await using rig = new Rig({
      service: to.service,
      options: {},
      signal: to.signal,
      async dial(call) {
        const socket = await dial(call)
        await new Promise(resolve => socket.once('readable', resolve))
        return socket
      },
    })
    expect(problemIn((await ask(rig, 'GET / HTTP/1.1')).text)).toMatchObject({ code: 'ORIGIN_FAILED' })
  })

  it('an answer before the end of the request is passed on, and neither connection is used again', async () => {
    const service = await answering((_head, socket) => void socket.write(GOOD))
    await using rig = new Rig(rule(at(service.server)))
    const { stream } = await rig.open()
    stream.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\npart of it')
    const got = await readAll(stream)
    expect(got.text).toMatch(/Connection: close\r\n\r\ngood$/)
    expect(got.cut).toBe(false)
    await expect.poll(() => service.sockets[0]?.destroyed).toBe(true)
  })

  it('what a service says in the edge’s name goes no further', async () => {
    const bytes =
      'HTTP/1.1 200 OK\r\nPostern-Problem: {"code":"ACCESS_DENIED"}\r\npostern_problem: x\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\nX-Own: 1\r\nContent-Length: 0\r\n\r\n'
    const service = await answering((_head, socket) => void socket.write(bytes))
    await using rig = new Rig(rule(at(service.server)))
    expect((await ask(rig, 'GET / HTTP/1.1')).text).toBe(
      'HTTP/1.1 200 OK\r\nX-Own: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n',
    )
  })
})

describe('row 136: a connection that died while it waited', () => {
  /** Answers once, and drops the connection at the next request. */
  const dropping = () =>
    answering((head, socket) => {
      if (head.startsWith('GET /first')) socket.write(GOOD)
      else if (service?.received.filter(one => one.includes('/second')).length === 1 && head.includes('/second'))
        socket.resetAndDestroy()
      else socket.write(GOOD)
    })
  let service: RawService | undefined

  it.each([
    ['GET', '', 'good'],
    ['POST', '', 'ORIGIN_FAILED'],
    ['PUT', 'Content-Length: 0\r\n', 'ORIGIN_FAILED'],
    ['DELETE', '', 'ORIGIN_FAILED'],
  ])('%s is said again only if it asks for nothing to be done', async (method, more, outcome) => {
    service = await dropping()
    await using rig = new Rig(rule(at(service.server)))
    const { stream } = await rig.open()
    stream.write('GET /first HTTP/1.1\r\nHost: a\r\n\r\n')
    await readUntil(stream, /good$/)
    stream.write(`${method} /second HTTP/1.1\r\nHost: a\r\n${more}\r\n`)
    expect(await readUntil(stream, /good$|Content-Length: 0\r\n/)).toContain(outcome)
    const sent = service.received.filter(one => one.includes('/second')).length
    expect(sent).toBe(method === 'GET' ? 2 : 1)
  })

  it('and never more than once', async () => {
    service = await answering((head, socket) => {
      if (head.startsWith('GET /first')) socket.write(GOOD)
      else socket.resetAndDestroy()
    })
    await using rig = new Rig(rule(at(service.server)))
    const { stream } = await rig.open()
    stream.write('GET /first HTTP/1.1\r\nHost: a\r\n\r\n')
    await readUntil(stream, /good$/)
    stream.write('GET /second HTTP/1.1\r\nHost: a\r\n\r\n')
    expect(problemIn(await readUntil(stream, /Content-Length: 0\r\n/))).toMatchObject({ code: 'ORIGIN_FAILED' })
    expect(service.received.filter(one => one.includes('/second'))).toHaveLength(2)
  })
})

describe('row 144: a service that does not answer', () => {
  it('refuses: ORIGIN_REFUSED, without its address', async () => {
    const service = await answering(() => {})
    const to = rule(at(service.server))
    await service[Symbol.asyncDispose]()
    await using rig = new Rig(to)
    const { text } = await ask(rig, 'GET / HTTP/1.1\r\npostern-request-id: r-7')
    expect(problemIn(text)).toMatchObject({ code: 'ORIGIN_REFUSED', status: 502, requestId: 'r-7' })
    expect(text).not.toMatch(/localhost|127\.0/)
    expect(rig.answers).toMatchObject([{ requestId: 'r-7', status: 502, error: { code: 'ORIGIN_REFUSED' } }])
  })

  it('takes the request and says nothing: ORIGIN_TIMEOUT, and 504', async () => {
    const service = await answering(() => {})
    await using rig = new Rig(rule(at(service.server), { responseTimeout: 100 }))
    expect(problemIn((await ask(rig, 'GET / HTTP/1.1')).text)).toMatchObject({ code: 'ORIGIN_TIMEOUT', status: 504 })
    await expect.poll(() => service.sockets[0]?.destroyed).toBe(true)
  })

  it('is never connected: ORIGIN_TIMEOUT after connectTimeout', async () => {
    const to = rule(new URL('http://localhost:1'), { connectTimeout: 100 })
    await using rig = new Rig({
      service: to.service,
      options: to.options,
      signal: to.signal,
      dial: ({ signal }) =>
        new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true })),
    })
    expect(problemIn((await ask(rig, 'GET / HTTP/1.1')).text)).toMatchObject({ code: 'ORIGIN_TIMEOUT', status: 504 })
  })

  it('takes its time while the request is still being sent, and is not late', async () => {
    const server = createServer((request, response) => {
      request.resume().on('end', () => response.end('done'))
    }).listen(0, '127.0.0.1')
    await new Promise(resolve => server.once('listening', resolve))
    await using rig = new Rig(rule(at(server), { responseTimeout: 400 }))
    const { stream } = await rig.open()
    stream.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n')
    for (const piece of 'sl_ow!') {
      await new Promise(resolve => setTimeout(resolve, 150))
      stream.write(piece)
    }
    expect(await readUntil(stream, /done$/)).toContain('200 OK')
    server.close()
    server.closeAllConnections()
  })

  it('a visitor who leaves takes the request along', async () => {
    const service = await answering(() => {})
    await using rig = new Rig(rule(at(service.server)))
    const { stream } = await rig.open()
    stream.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await expect.poll(() => service.received[0]).toContain('GET /')
    stream.destroy(new Error('gone'))
    await expect.poll(() => service.sockets[0]?.destroyed).toBe(true)
    await expect.poll(() => rig.answers).toMatchObject([{ error: { code: 'STREAM_CUT' } }])
  })
})
