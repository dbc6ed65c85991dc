import { describe, expect, test } from 'vitest'
import { call, type Edge, readAll, startEdge, until } from './edge.ts'
import { closeCode, closeFrame, frame, upgradeRequest, Wire } from './wire.ts'

async function open(edge: Edge, lines: readonly string[] = []): Promise<Wire> {
  const count = edge.pipes.length
  const wire = new Wire(edge.port)
  wire.send(upgradeRequest(lines))
  await wire.upgraded()
  await until(() => edge.pipes.length > count)
  return wire
}

/** How the edge's last pipe ends for its reader. */
function ending(edge: Edge): Promise<string> {
  const pipe = edge.pipes.at(-1)!
  return readAll(pipe).then(
    bytes => `end after ${bytes.length}`,
    (error: { code: string }) => error.code,
  )
}

const long = Buffer.from([0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4])

test('a message that comes in parts: its pipe says so at each, and hands over all of it', async () => {
  await using edge = await startEdge()
  const wire = await open(edge)
  const pipe = edge.pipes.at(-1)!
  let progress = 0
  const text: string[] = []
  pipe.on('progress', () => (progress += 1)).on('data', (chunk: Buffer) => text.push(String(chunk)))
  const bytes = frame(0x82, 'in three parts')
  for (const [from, to] of [
    [0, 3],
    [3, 9],
  ] as const) {
    const before = progress
    wire.send(bytes.subarray(from, to))
    await until(() => progress > before)
    expect(text).toEqual([])
  }
  wire.send(bytes.subarray(9))
  await until(() => text.length > 0)
  expect(text).toEqual(['in three parts'])
})

test('a ping, which a proxy in between may send for ever: no sign of who is at the other end; a part of a message is', async () => {
  await using edge = await startEdge()
  const wire = await open(edge)
  let progress = 0
  edge.pipes.at(-1)!.on('progress', () => (progress += 1))
  wire.send(Buffer.concat([frame(0x8a, 'still there'), frame(0x89, 'still there?')]))
  await until(() => wire.received[0] === 0x8a)
  expect(progress).toBe(0)
  wire.send(frame(0x82, 'a message').subarray(0, 4))
  await until(() => progress > 0)
  expect(progress).toBe(1)
})

// RFC 6455 §5 and §7.4, as in the Autobahn cases 1–7.
describe('frames that no client may send', () => {
  test.each<[string, Buffer, number]>([
    ['an unmasked frame', frame(0x82, 'x', false), 1002],
    ['RSV1', frame(0xc2, 'x'), 1002],
    ['RSV2', frame(0xa2, 'x'), 1002],
    ['RSV3', frame(0x92, 'x'), 1002],
    ['opcode 3', frame(0x83, 'x'), 1002],
    ['opcode 11', frame(0x8b, 'x'), 1002],
    ['a fragmented ping', frame(0x09, 'x'), 1002],
    ['a fragmented close', frame(0x08, Buffer.from([3, 232])), 1002],
    ['a ping of 126 bytes', frame(0x89, Buffer.alloc(126)), 1002],
    ['a close of one byte', frame(0x88, 'x'), 1002],
    ['a continuation of nothing', frame(0x80, 'x'), 1002],
    ['a new message inside one', Buffer.concat([frame(0x02, 'a'), frame(0x82, 'b')]), 1002],
    ['close code 999', closeFrame(999), 1002],
    ['close code 1005', closeFrame(1005), 1002],
    ['close code 1006', closeFrame(1006), 1002],
    ['invalid UTF-8', frame(0x81, Buffer.from([0xc3, 0x28])), 1007],
    ['a length with its highest bit', long, 1009],
    ['a message of 2 MiB', Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0, 0x20, 0, 0, 1, 2, 3, 4]), 1009],
  ])('%s closes this connection, as a cut', async (_name, bytes, code) => {
    await using edge = await startEdge()
    const other = await edge.transport.dial(edge.request(), call())
    await until(() => edge.pipes.length === 1)
    const wire = await open(edge)
    wire.send(frame(0x82, 'fine'))
    const seen = ending(edge)
    wire.send(bytes)
    wire.socket.resume()
    await wire.ended()
    expect(closeCode(wire.received)).toBe(code)
    expect(await seen).toBe('STREAM_CUT')
    edge.pipes[0]!.end('unharmed')
    expect((await readAll(other.pipe)).toString()).toBe('unharmed')
  })

  test('text in a session is 1003; from a foreign client it is bytes', async () => {
    await using edge = await startEdge()
    const session = await open(edge, ['sec-websocket-protocol: postern-session-1'])
    const cut = ending(edge)
    session.send(frame(0x81, 'text'))
    expect(await cut).toBe('STREAM_CUT')
    await until(() => closeCode(session.received) === 1003)
    session.socket.destroy()
    const raw = await open(edge)
    const fine = ending(edge)
    raw.send(Buffer.concat([frame(0x81, 'text'), closeFrame(1000)]))
    expect(await fine).toBe('end after 4')
    raw.socket.destroy()
  })
})

describe('how a foreign client’s end is understood', () => {
  test.each<[string, (wire: Wire) => void, string]>([
    ['close 1000', wire => wire.send(closeFrame(1000)), 'end after 4'],
    ['close 1000 with the connection kept open', wire => wire.send(closeFrame(1000)), 'end after 4'],
    ['close 1001', wire => wire.send(closeFrame(1001)), 'STREAM_CUT'],
    ['close 1011', wire => wire.send(closeFrame(1011)), 'STREAM_CUT'],
    ['close without a code', wire => wire.send(frame(0x88)), 'STREAM_CUT'],
    ['FIN without a close', wire => wire.socket.end(), 'STREAM_CUT'],
    ['RST', wire => wire.socket.resetAndDestroy(), 'STREAM_CUT'],
    ['half a frame, then FIN', wire => wire.socket.end(frame(0x82, 'half').subarray(0, 7)), 'STREAM_CUT'],
  ])('%s', async (_name, end, expected) => {
    await using edge = await startEdge()
    const wire = await open(edge)
    wire.send(frame(0x82, 'four'))
    await until(() => edge.pipes[0]!.readableLength === 4)
    const seen = ending(edge)
    end(wire)
    expect(await seen).toBe(expected)
    wire.socket.destroy()
  })

  test('our end is drained, then close 1000', async () => {
    await using edge = await startEdge()
    const wire = await open(edge)
    edge.pipes[0]!.end(Buffer.alloc(100_000, 1))
    await until(() => closeCode(wire.received) === 1000)
    expect(wire.received.length).toBeGreaterThan(100_000)
    wire.send(closeFrame(1000))
    await wire.ended()
  })
})

describe('pings', () => {
  test('are answered', async () => {
    await using edge = await startEdge()
    const wire = await open(edge)
    edge.pipes[0]!.resume()
    wire.send(frame(0x89, 'are you there'))
    await until(() => wire.received.includes('are you there'))
    expect(wire.received[0]).toBe(0x8a)
    wire.socket.destroy()
    edge.pipes[0]!.on('error', () => {})
    await until(() => edge.pipes[0]!.closed)
  })

  test('a flood of them from a client that reads no answers ends its connection, within bounds', async () => {
    await using edge = await startEdge()
    const wire = await open(edge)
    wire.socket.pause()
    const seen = ending(edge)
    const many = Buffer.concat(Array.from({ length: 500 }, () => frame(0x89, Buffer.alloc(125))))
    const flood = setInterval(() => {
      for (let i = 0; i < 50 && wire.socket.writable; i++) wire.socket.write(many)
    }, 1)
    expect(await seen).toBe('STREAM_CUT')
    clearInterval(flood)
    wire.socket.destroy()
  })
})
