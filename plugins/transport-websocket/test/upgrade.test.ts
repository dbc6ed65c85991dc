import { problem } from '@postern/interface'
import { describe, expect, test } from 'vitest'
import { readAll, startEdge, until, type welcome } from './edge.ts'
import { closeFrame, frame, upgradeRequest, Wire } from './wire.ts'

async function ask(port: number, request: string): Promise<{ status: number; body: string; all: string }> {
  const wire = new Wire(port)
  wire.send(request)
  const all = await wire.ended()
  return { status: Number(/^HTTP\/1\.1 (\d+)/.exec(all)?.[1]), body: all.slice(all.indexOf('\r\n\r\n') + 4), all }
}

const denied = async (incoming: Parameters<typeof welcome>[0]): Promise<void> =>
  incoming.reject(problem('ACCESS_DENIED', 'r'))

describe('upgrades that are refused before anybody is asked', () => {
  const usual = upgradeRequest()
  test.each([
    ['no key', usual.replace(/sec-websocket-key.*\r\n/, ''), 400],
    ['a short key', usual.replace('dGhl', ''), 400],
    ['an old version', usual.replace('version: 13', 'version: 8'), 400],
    ['two keys', upgradeRequest(['sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==']), 400],
    ['POST', upgradeRequest(['content-length: 0'], 'POST / HTTP/1.1'), 400],
    ['Upgrade twice', upgradeRequest(['Upgrade: websocket']), 400],
    ['Upgrade with two tokens', usual.replace('upgrade: websocket', 'upgrade: h2c, WebSocket'), 400],
    ['a sub-protocol of spaces', upgradeRequest([`sec-websocket-protocol: ${' '.repeat(8000)}x y`]), 400],
    ['a sub-protocol twice', upgradeRequest(['sec-websocket-protocol: postern-session-1, postern-session-1']), 400],
    ['a stranger’s sub-protocol', upgradeRequest(['sec-websocket-protocol: chat']), 400],
    ['another version of ours', upgradeRequest(['sec-websocket-protocol: postern-session-2']), 426],
  ])('%s', async (_name, request, status) => {
    let asked = 0
    await using edge = await startEdge(async incoming => {
      asked++
      await denied(incoming)
    })
    const answer = await ask(edge.port, request)
    expect(answer.status).toBe(status)
    expect(JSON.parse(answer.body)).toMatchObject({
      code: status === 426 ? 'VERSION_UNSUPPORTED' : 'BAD_USAGE',
      status,
    })
    expect(asked).toBe(0)
    await until(() => edge.sockets.size === 0)
  })

  test('their allowed twins are asked about', async () => {
    await using edge = await startEdge(denied)
    for (const request of [
      usual,
      usual.replace('upgrade: websocket', 'UPGRADE: WebSocket'),
      usual.replace('connection: upgrade', 'Connection: keep-alive, Upgrade'),
      upgradeRequest(['sec-websocket-protocol: chat, postern-session-1']),
      upgradeRequest(['sec-websocket-protocol: postern-session-2, postern-session-1']),
    ]) {
      expect((await ask(edge.port, request)).status).toBe(403)
    }
  })

  test('what is no WebSocket is not claimed', async () => {
    await using edge = await startEdge()
    expect((await ask(edge.port, usual.replace('websocket\r\n', 'h2c\r\n'))).status).toBe(418)
  })

  test('after the call is aborted nothing is claimed, and pipes live on', async () => {
    await using edge = await startEdge()
    const { pipe } = await edge.transport.dial(edge.request(), {
      signal: new AbortController().signal,
      log: console as never,
    })
    edge.unmount()
    expect((await ask(edge.port, usual)).status).toBe(418)
    edge.pipes[0]?.end('on')
    expect((await readAll(pipe)).toString()).toBe('on')
  })
})

describe('row 73: an upgrade that two readers could read in two ways', () => {
  test.each([
    ['with a length', upgradeRequest(['content-length: 3'])],
    ['with a length of nothing', upgradeRequest(['content-length: 0'])],
    ['in chunks', upgradeRequest(['transfer-encoding: chunked'])],
    ['that waits for 100', upgradeRequest(['expect: 100-continue'])],
    ['with trailers', upgradeRequest(['trailer: x'])],
    ['of HTTP/1.0', upgradeRequest([], 'GET / HTTP/1.0')],
  ])('%s is refused, and what follows it is nobody’s', async (_name, request) => {
    let asked = 0
    await using edge = await startEdge(async incoming => {
      asked++
      await denied(incoming)
    })
    expect((await ask(edge.port, `${request}0\r\n\r\n${upgradeRequest()}`)).status).toBe(400)
    expect(asked).toBe(0)
    expect((await ask(edge.port, upgradeRequest())).status).toBe(403)
    expect(asked).toBe(1)
  })
})

describe('hostile heads', () => {
  test.each([
    ['2,000 headers', Array.from({ length: 2000 }, (_, i) => `x-${i}: y`)],
    ['64 KiB of spaces', [`sec-websocket-protocol: ${' '.repeat(65_536)}x`]],
  ])('%s is answered or cut, and the next visitor is served', async (_name, lines) => {
    await using edge = await startEdge(denied)
    const { status } = await ask(edge.port, upgradeRequest(lines))
    expect([400, 403, 431]).toContain(status)
    expect((await ask(edge.port, upgradeRequest())).status).toBe(403)
  })

  test.each([
    'constructor',
    '__proto__',
    'permessage-deflate; server_max_window_bits=8',
    ',,;;=',
    'permessage-deflate',
  ])('the extension offer %j is not taken up', async offer => {
    await using edge = await startEdge()
    const wire = new Wire(edge.port)
    wire.send(upgradeRequest([`sec-websocket-extensions: ${offer}`]))
    await until(() => wire.received.includes('\r\n\r\n'))
    expect(wire.received.toString()).toMatch(/^HTTP\/1.1 101/)
    expect(wire.received.toString().toLowerCase()).not.toContain('extensions')
    wire.socket.destroy()
  })

  test('a client that leaves before it is answered harms nobody', async () => {
    let release = (): void => {}
    const held = new Promise<void>(resolve => {
      release = resolve
    })
    const outcomes: string[] = []
    await using edge = await startEdge(async (incoming, keep) => {
      await held
      // A head of its own that must not end up with anybody else.
      await incoming.accept({ 'x-whose': 'gone' }).then(keep, (error: { code: string }) => outcomes.push(error.code))
    })
    const wires = Array.from({ length: 10 }, () => new Wire(edge.port))
    for (const wire of wires) wire.send(upgradeRequest())
    await until(() => edge.sockets.size === 10)
    for (const wire of wires) wire.socket.resetAndDestroy()
    await until(() => wires.every(wire => wire.socket.closed))
    await new Promise(resolve => setTimeout(resolve, 50))
    release()
    await until(() => outcomes.length + edge.pipes.length === 10)
    for (const pipe of edge.pipes) pipe.on('error', () => {})
    await until(() => edge.sockets.size === 0)
    expect((await ask(edge.port, upgradeRequest(['sec-websocket-protocol: chat']))).all).not.toContain('x-whose')
  })
})

describe('bytes behind the upgrade', () => {
  test('are delivered in order when it is accepted, however late', async () => {
    await using edge = await startEdge(async (incoming, keep) => {
      await new Promise(resolve => setTimeout(resolve, 100))
      keep(await incoming.accept())
    })
    const wire = new Wire(edge.port)
    wire.send(Buffer.concat([Buffer.from(upgradeRequest()), frame(0x82, 'first,')]))
    wire.send(frame(0x82, 'second,'))
    await until(() => edge.pipes.length === 1)
    wire.send(Buffer.concat([frame(0x82, 'third'), closeFrame(1000)]))
    expect((await readAll(edge.pipes[0]!)).toString()).toBe('first,second,third')
    wire.socket.destroy()
  })

  test('are read by nobody when it is refused', async () => {
    await using edge = await startEdge(denied)
    const { all } = await ask(edge.port, `${upgradeRequest()}GET /secret HTTP/1.1\r\nhost: db.localhost\r\n\r\n`)
    expect(all.match(/HTTP\/1\.1/g)).toHaveLength(1)
  })

  test('a refused client that floods still gets its answer, and its socket goes', async () => {
    await using edge = await startEdge(denied)
    const wire = new Wire(edge.port)
    wire.send(upgradeRequest())
    const flood = setInterval(() => wire.socket.writable && wire.socket.write(Buffer.alloc(65_536)), 1)
    expect(await wire.ended()).toMatch(/^HTTP\/1.1 403/)
    clearInterval(flood)
    await until(() => edge.sockets.size === 0)
  })
})
