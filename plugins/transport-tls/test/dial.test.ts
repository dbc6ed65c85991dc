import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { type Call, type DialRequest, type Logger, problem, type Transport } from '@postern/interface'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import client from '../src/client.ts'

const silent = (): void => {}
const log: Logger = { debug: silent, info: silent, warn: silent, error: silent }
const transport = (await client.create({}, {} as never)) as Transport
const TICKET = 'abcdefghijklmnopqrstuvwxyz'
const NAME = `${TICKET}.edge.localhost`

const server = createServer({ allowHalfOpen: true })
/** Connections of the server, and what each has said. */
let seen: { readonly socket: Socket; text: string }[] = []
/** Connections of the client. */
let own: Socket[] = []

server.on('connection', socket => {
  const one = { socket, text: '' }
  seen.push(one)
  socket.on('error', silent).on('data', chunk => {
    one.text += chunk.toString('latin1')
  })
})
beforeEach(async () => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
})
afterEach(async () => {
  for (const one of own) one.destroy()
  for (const { socket } of seen) socket.destroy()
  seen = []
  own = []
  server.close()
  await once(server, 'close')
})

function dial(more: Partial<DialRequest>, signal: AbortSignal = new AbortController().signal) {
  const { port } = server.address() as AddressInfo
  const call: Call = { signal, log }
  const request: DialRequest = {
    edge: new URL(`http://127.0.0.1:${port}`),
    host: 'db.localhost',
    purpose: 'join',
    headers: {},
    credential: {},
    ca: [],
    connect: async () => {
      const socket = connect(port, '127.0.0.1')
      own.push(socket.on('error', silent))
      await once(socket, 'connect')
      return socket
    },
    ...more,
  }
  return transport.dial(request, call)
}

async function said(at: number, wanted: string): Promise<Socket> {
  await expect.poll(() => seen[at]?.text ?? '').toContain(wanted)
  return seen[at]!.socket
}

const answer = (...lines: string[]) =>
  ['HTTP/1.1 101 Switching Protocols', 'upgrade: postern/1', 'connection: upgrade', ...lines, '', ''].join('\r\n')

describe('a daemon that comes for a client', () => {
  const coming = (signal?: AbortSignal) => dial({ host: 'edge.localhost', headers: { 'postern-join': TICKET } }, signal)

  test('sends its ticket and nothing else, and reads the edge’s word and not a byte more', async () => {
    const dialling = coming()
    const socket = await said(0, '\n')
    expect(seen[0]?.text).toBe(`POSTERN-JOIN/1 ${TICKET}\n`)
    for (const byte of 'POSTERN-JOIN/1 ok\n') socket.write(byte)
    socket.end('the client’s first bytes')
    const { pipe, serverName } = await dialling
    expect(serverName).toBeUndefined()
    let text = ''
    for await (const chunk of pipe) text += String(chunk)
    expect(text).toBe('the client’s first bytes')
    expect(own).toHaveLength(1)
  })

  test.each([
    ['another word', (socket: Socket) => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'), 'EDGE_PROTOCOL'],
    ['half of it and an end', (socket: Socket) => socket.end('POSTERN-JOIN/1'), 'EDGE_PROTOCOL'],
    ['a reset', (socket: Socket) => socket.resetAndDestroy(), 'EDGE_PROTOCOL'],
    ['nothing', () => {}, 'TIMED_OUT'],
    ['half of it', (socket: Socket) => socket.write('POSTERN-JOIN/1'), 'TIMED_OUT'],
  ])('is told %s: fails, so that it comes another way', async (_what, speak, code) => {
    const dialling = coming()
    const failed = expect(dialling).rejects.toMatchObject({ code })
    speak(await said(0, '\n'))
    await failed
    await expect.poll(() => own[0]?.destroyed).toBe(true)
  })

  test('is told no: that is the edge’s word, and no other way would change it', async () => {
    const dialling = coming()
    const failed = expect(dialling).rejects.toMatchObject({ code: 'CONFLICT', speaker: 'edge' })
    const socket = await said(0, '\n')
    socket.end('POSTERN-JOIN/1 no\n')
    await failed
    await expect.poll(() => own[0]?.destroyed).toBe(true)
  })

  test('is aborted while it waits', async () => {
    const own = new AbortController()
    const dialling = coming(own.signal)
    const failed = expect(dialling).rejects.toThrow('enough')
    await said(0, '\n')
    own.abort(new Error('enough'))
    await failed
  })

  test('with a ticket that is none: nothing is dialled', async () => {
    await expect(dial({ headers: { 'postern-join': `${TICKET}\r\nx` } })).rejects.toMatchObject({ code: 'BAD_USAGE' })
    expect(own).toHaveLength(0)
  })
})

describe('a client that asks to be joined', () => {
  test('is told end-to-end and a ticket: a second connection, on which nothing was said; the first ends with it', async () => {
    const dialling = dial({ headers: { 'postern-key': 'k' } })
    const asking = await said(0, '\r\n\r\n')
    expect(seen[0]?.text).toMatch(/^GET \/ HTTP\/1\.1\r\n/)
    for (const line of ['postern-key: k', 'upgrade: postern/1', 'postern-purpose: join', 'host: db.localhost:'])
      expect(seen[0]?.text.toLowerCase()).toContain(line)
    asking.write(answer('postern-mode: end-to-end', `postern-ticket: ${NAME}`))
    const { pipe, serverName, answer: told } = await dialling
    expect([serverName, told['postern-mode']]).toEqual([NAME, ['end-to-end']])
    await expect.poll(() => seen.length).toBe(2)
    expect(seen[1]?.text).toBe('')
    expect(own[0]?.destroyed).toBe(false)
    pipe.destroy()
    await expect.poll(() => asking.destroyed).toBe(true)
  })

  test('whom the edge ends the first connection, since the second is there: the second lives', async () => {
    const dialling = dial({})
    const asking = await said(0, '\r\n\r\n')
    asking.write(answer('postern-mode: end-to-end', `postern-ticket: ${NAME}`))
    const { pipe } = await dialling
    asking.end()
    await expect.poll(() => own[0]?.destroyed).toBe(true)
    pipe.write('hello')
    await said(1, 'hello')
  })

  test('is told hop: the pipe is where it asked', async () => {
    const dialling = dial({})
    const asking = await said(0, '\r\n\r\n')
    asking.write(`${answer('postern-mode: hop')}and at once`)
    const { pipe, serverName } = await dialling
    const [first] = await once(pipe, 'data')
    expect([String(first), serverName]).toEqual(['and at once', undefined])
    // The other one, which was made ahead, is not wanted.
    await expect.poll(() => own.map(one => one.destroyed)).toEqual([false, true])
    expect(seen[1]?.text ?? '').toBe('')
  })

  test('has its second connection while the edge still thinks', async () => {
    const dialling = dial({})
    const asking = await said(0, '\r\n\r\n')
    await expect.poll(() => seen.length).toBe(2)
    asking.write(answer('postern-mode: end-to-end', `postern-ticket: ${NAME}`))
    const { pipe } = await dialling
    expect(pipe).toBe(own[1])
    expect(own).toHaveLength(2)
  })

  test('and where that was ended meanwhile, another one', async () => {
    const dialling = dial({})
    const asking = await said(0, '\r\n\r\n')
    await expect.poll(() => seen.length).toBe(2)
    seen[1]?.socket.end()
    await expect.poll(() => own[1]?.readableEnded).toBe(true)
    asking.write(answer('postern-mode: end-to-end', `postern-ticket: ${NAME}`))
    const { pipe } = await dialling
    expect(pipe).toBe(own[2])
    await expect.poll(() => own[1]?.destroyed).toBe(true)
  })

  test('is refused: neither is left', async () => {
    const refused = expect(dial({})).rejects.toMatchObject({ code: 'ACCESS_DENIED' })
    const asking = await said(0, '\r\n\r\n')
    const body = JSON.stringify(problem('ACCESS_DENIED', 'r', { speaker: 'edge' }))
    const head = [
      'HTTP/1.1 403 Forbidden',
      'content-type: application/problem+json',
      `content-length: ${Buffer.byteLength(body)}`,
    ]
    asking.end([...head, '', body].join('\r\n'))
    await refused
    await expect.poll(() => own.length === 2 && own.every(one => one.destroyed)).toBe(true)
  })

  test.each([
    ['no ticket', []],
    ['two', [`postern-ticket: ${NAME}`, `postern-ticket: ${NAME}`]],
    ['one that is no name of it', ['postern-ticket: edge.localhost']],
    ['one with more behind it', [`postern-ticket: ${NAME}:443`]],
  ])('is told end-to-end, and %s', async (_what, lines) => {
    const failed = expect(dial({})).rejects.toMatchObject({ code: 'EDGE_PROTOCOL' })
    const asking = await said(0, '\r\n\r\n')
    asking.write(answer('postern-mode: end-to-end', ...lines))
    await failed
    await expect.poll(() => own.every(one => one.destroyed)).toBe(true)
    expect(own).toHaveLength(2)
  })
})

test('one raw connection is not for this transport', async () => {
  await expect(dial({ purpose: 'raw' })).rejects.toMatchObject({ code: 'BAD_USAGE' })
  expect(own).toHaveLength(0)
})

test.each([
  ['that does not know the protocol', 'BAD_USAGE', '', 'EDGE_PROTOCOL'],
  ['that saw no upgrade', 'VERSION_UNSUPPORTED', 'upgrade: websocket', 'EDGE_PROTOCOL'],
  ['that does, and means it', 'BAD_USAGE', 'upgrade: postern/1', 'BAD_USAGE'],
  ['that speaks no version of ours', 'VERSION_UNSUPPORTED', 'upgrade: postern/1', 'VERSION_UNSUPPORTED'],
  ['that knows nobody, whatever it knows', 'LOGIN_REQUIRED', '', 'LOGIN_REQUIRED'],
] as const)('a refusal of an edge %s', async (_what, refused, line, code) => {
  const failed = expect(dial({})).rejects.toMatchObject({ code })
  const socket = await said(0, '\r\n\r\n')
  const body = JSON.stringify(problem(refused, 'r-1', { speaker: 'edge' }))
  const head = [
    'HTTP/1.1 400 No',
    'content-type: application/problem+json',
    `content-length: ${Buffer.byteLength(body)}`,
  ]
  socket.end([...head, ...(line ? [line] : []), '', body].join('\r\n'))
  await failed
})

test('a protocol that was not asked for', async () => {
  const failed = expect(dial({ purpose: 'session' })).rejects.toMatchObject({ code: 'EDGE_PROTOCOL' })
  const asking = await said(0, '\r\n\r\n')
  asking.write(answer().replace('postern/1', 'postern/2'))
  await failed
})
