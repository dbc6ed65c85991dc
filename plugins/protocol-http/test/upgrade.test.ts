// WebSockets: a handshake that is HTTP, then bytes. Numbers are rows of docs/security.md.
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { Duplex } from 'node:stream'
import { afterEach, describe, expect, it } from 'vitest'
import { at, problemIn, Rig, readAll, readUntil, rule } from './rig.ts'

const open: (() => void)[] = []
afterEach(() => {
  for (const close of open.splice(0)) close()
})

const HANDSHAKE =
  'GET /chat HTTP/1.1\r\nHost: app.example.com\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\n'

async function service(onUpgrade?: (socket: Duplex, head: Buffer, headers: readonly string[]) => void) {
  const server = createServer((_request, response) => void response.writeHead(426, { 'x-own': '1' }).end('no'))
  if (onUpgrade)
    server.on('upgrade', (request, socket, head) =>
      onUpgrade(
        socket.on('error', () => {}),
        head,
        request.rawHeaders,
      ),
    )
  server.listen(0, '127.0.0.1')
  open.push(() => void server.close())
  await once(server, 'listening')
  return server
}

const SWITCH =
  'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n'

it('a WebSocket is bytes both ways, looked at by nobody, with its handshake as it was', async () => {
  let headers: readonly string[] = []
  const server = await service((socket, _head, raw) => {
    headers = raw
    socket.write(SWITCH)
    socket.pipe(socket)
  })
  const to = rule(at(server))
  await using rig = new Rig(to)
  const { stream, over } = await rig.open()
  stream.write(`${HANDSHAKE}\r\n`)
  expect(await readUntil(stream, /\r\n\r\n$/)).toBe(
    'HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
  )
  expect(headers.join('|')).toContain('Sec-WebSocket-Extensions|permessage-deflate') // row 71: nothing is inflated here
  expect(headers.join('|')).toContain('Connection|Upgrade|Upgrade|websocket')
  const bytes = Buffer.from([0, 255, 1, 254, 13, 10, 13, 10])
  stream.write(bytes)
  expect(Buffer.from(await readUntil(stream, /\r\n\r\n$/), 'latin1')).toEqual(bytes)
  stream.end()
  expect((await readAll(stream)).cut).toBe(false)
  expect(await over).toBeUndefined()
  expect(rig.answers).toMatchObject([{ status: 101 }])
  expect(rig.answers[0]?.error).toBeUndefined()
})

describe('row 73', () => {
  it('bytes right behind the request, and right behind the 101, arrive in their order', async () => {
    let got = ''
    const server = await service((socket, head) => {
      got += head
      socket.on('data', chunk => {
        got += chunk
        if (got === 'early then') socket.end(' last')
      })
      socket.write(`${SWITCH}first`)
    })
    await using rig = new Rig(rule(at(server)))
    const { stream } = await rig.open()
    stream.write(`${HANDSHAKE}\r\nearly`)
    const text = await readUntil(stream, /first$/)
    expect(text).toMatch(/\r\n\r\nfirst$/)
    stream.write(' then')
    expect(await readUntil(stream, /last$/)).toBe(' last')
    expect(got).toBe('early then')
  })

  it('an answer that is not 101 opens nothing: what was sent behind is no request, and both connections end', async () => {
    let requests = 0
    const server = await service()
    server.on('request', () => requests++)
    const to = rule(at(server))
    await using rig = new Rig(to)
    const { stream } = await rig.open()
    stream.write(`${HANDSHAKE}\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n`)
    const { text } = await readAll(stream)
    expect(text).toMatch(/^HTTP\/1.1 426 [\s\S]*x-own: 1[\s\S]*Connection: close[\s\S]*no/)
    expect(requests).toBe(1)
    await expect.poll(() => to.dialled[0]?.destroyed).toBe(true)
  })

  it.each(['h2c', 'websocket, h2c', 'TLS/1.0'])('row 59: an upgrade to %s is refused, and not dialled', async token => {
    const to = rule(at(await service(socket => void socket.write(SWITCH))))
    await using rig = new Rig(to)
    const { stream } = await rig.open()
    stream.write(
      `GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: ${token}\r\nHTTP2-Settings: x\r\n\r\n`,
    )
    expect(problemIn((await readAll(stream)).text)).toMatchObject({ code: 'PROTOCOL_VIOLATION' })
    expect(to.dialled).toHaveLength(0)
  })

  it('a service that switches without the word is not believed', async () => {
    const server = await service(socket => void socket.end('HTTP/1.1 101 Switching Protocols\r\n\r\n'))
    await using rig = new Rig(rule(at(server)))
    const { stream } = await rig.open()
    stream.write(`${HANDSHAKE}\r\n`)
    expect(problemIn((await readAll(stream)).text)).toMatchObject({ code: 'ORIGIN_FAILED' })
  })
})

it('a rule that is removed cuts an open WebSocket, at both ends', async () => {
  let atService: Duplex | undefined
  const server = await service(socket => {
    atService = socket
    socket.write(SWITCH)
  })
  const to = rule(at(server))
  await using rig = new Rig(to)
  const { stream } = await rig.open()
  stream.write(`${HANDSHAKE}\r\n`)
  await readUntil(stream, /\r\n\r\n$/)
  const end = readAll(stream)
  to.remove()
  expect((await end).cut).toBe(true)
  await expect.poll(() => atService?.destroyed).toBe(true)
  expect(rig.answers).toMatchObject([{ status: 101, error: { code: 'INGRESS_NOT_FOUND' } }])
})

it('a cut by the service is a cut for the visitor, and the other way round', async () => {
  const sockets: Duplex[] = []
  const server = await service(socket => {
    sockets.push(socket)
    socket.write(SWITCH)
  })
  await using rig = new Rig(rule(at(server)))
  const opened = async () => {
    const { stream } = await rig.open()
    stream.write(`${HANDSHAKE}\r\n`)
    await readUntil(stream, /\r\n\r\n$/)
    return stream
  }
  const [one, other] = [await opened(), await opened()]
  const end = readAll(one)
  ;(sockets[0] as import('node:net').Socket).resetAndDestroy()
  expect((await end).cut).toBe(true)
  other.destroy(new Error('gone'))
  await expect.poll(() => sockets[1]?.destroyed).toBe(true)
})
