import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { type ConnectionOptions, connect } from 'node:tls'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { LONGEST_HELLO, readClientHello, serverNameOf } from '../src/front/client-hello.ts'
import { extension, helloMessage, namesExtension, records, unrecorded, vector } from './hello.ts'
import { fuzzHellos } from './hello-fuzz.ts'

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')
const read = (message: Uint8Array) => readClientHello(records(message))
const malformed = { malformed: expect.any(String) }

/** What a client says first. */
async function firstOf(dial: (port: number) => void): Promise<Buffer> {
  const server = createServer()
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as { port: number }
  dial(port)
  const [socket] = await once(server, 'connection')
  const chunks: Buffer[] = []
  for await (const chunk of socket) {
    chunks.push(chunk)
    if (readClientHello(Buffer.concat(chunks)) !== 'more') break
  }
  socket.destroy()
  server.close()
  return Buffer.concat(chunks)
}

const node = (options: ConnectionOptions) => (port: number) =>
  void connect({
    port,
    host: '127.0.0.1',
    servername: 'db.example.com',
    ALPNProtocols: ['h2', 'http/1.1'],
    ...options,
  }).on('error', () => {})
const program = (name: string, argv: (port: number) => string[]) => (port: number) =>
  void spawn(name, argv(port), { stdio: 'ignore' }).on('error', () => {})

describe('what real clients say', () => {
  test.each<[string, ConnectionOptions, string | undefined]>([
    ['Node', {}, 'db.example.com'],
    ['Node with TLS 1.2 alone', { maxVersion: 'TLSv1.2' }, 'db.example.com'],
    ['Node with a post-quantum key', { ecdhCurve: 'X25519MLKEM768' }, 'db.example.com'],
    ['Node with a name in capitals', { servername: 'DB.Example.Com' }, 'db.example.com'],
    ['Node without a name', { servername: '' }, undefined],
  ])('%s', async (_, options, serverName) => {
    const sent = await firstOf(node(options))
    expect(readClientHello(sent)).toEqual({ ...(serverName && { serverName }), alpn: ['h2', 'http/1.1'] })
    if (options.ecdhCurve !== undefined) expect(sent.length).toBeGreaterThan(1200)
    // However it is cut into records.
    for (const size of [1, 2, 3, 4, 5, 100])
      expect(readClientHello(records(unrecorded(sent), size))).toEqual(readClientHello(sent))
  })

  test.skipIf(!peers.includes('openssl'))('openssl s_client', async () => {
    const argv = (port: number) => [
      's_client',
      '-connect',
      `127.0.0.1:${port}`,
      '-servername',
      'db.example.com',
      '-alpn',
      'h2',
    ]
    expect(readClientHello(await firstOf(program('openssl', argv)))).toEqual({
      serverName: 'db.example.com',
      alpn: ['h2'],
    })
    const none = (port: number) => ['s_client', '-connect', `127.0.0.1:${port}`, '-noservername', '-tls1_2']
    expect(readClientHello(await firstOf(program('openssl', none)))).toEqual({ alpn: [] })
  })

  test.skipIf(!peers.includes('curl'))('curl', async () => {
    const argv = (port: number) => ['-s', '--connect-to', `::127.0.0.1:${port}`, 'https://db.example.com/']
    expect(readClientHello(await firstOf(program('curl', argv)))).toEqual({
      serverName: 'db.example.com',
      alpn: ['h2', 'http/1.1'],
    })
  })
})

describe('what is in a hello', () => {
  const grease = [0x0a0a, Buffer.from([0])] as const
  test.each<[string, Buffer, object]>([
    ['no extensions', helloMessage({ bare: true }), { alpn: [] }],
    ['none of those that count', helloMessage({ extensions: [grease] }), { alpn: [] }],
    ['a name', helloMessage({ names: ['a.example'] }), { serverName: 'a.example', alpn: [] }],
    ['row 46: a name in mixed case', helloMessage({ names: ['A.eXAMPLE'] }), { serverName: 'a.example', alpn: [] }],
    [
      'GREASE before and a post-quantum key behind it',
      helloMessage({ names: ['a.example'], extensions: [grease, [51, Buffer.alloc(1300)], [0xfafa, Buffer.alloc(0)]] }),
      { serverName: 'a.example', alpn: [] },
    ],
    ['a dot at the name’s end', helloMessage({ names: ['a.example.'] }), { alpn: [] }],
    ['a name with a NUL', helloMessage({ names: ['a.example\0.evil'] }), { alpn: [] }],
    ['a name of other letters', helloMessage({ names: ['\u00e4.example'] }), { alpn: [] }],
    ['an empty name', helloMessage({ names: [''] }), { alpn: [] }],
    ['an IPv6 address', helloMessage({ names: ['::1'] }), { alpn: [] }],
    ['a name of 254', helloMessage({ names: [`${'a.'.repeat(126)}aa`] }), { alpn: [] }],
    ['__proto__', helloMessage({ names: ['__proto__'] }), { alpn: [] }],
    ['two names', helloMessage({ names: ['a.example', 'b.example'] }), malformed],
    ['a name of another kind', helloMessage({ extensions: [[0, vector(2, Buffer.from('010001', 'hex'))]] }), malformed],
    ['an empty list of names', helloMessage({ extensions: [[0, vector(2, Buffer.alloc(0))]] }), malformed],
    ['an empty name extension', helloMessage({ extensions: [[0, Buffer.alloc(0)]] }), malformed],
    [
      'the name extension twice',
      helloMessage({ names: ['a.example'], extensions: [[0, namesExtension(['b.example']).subarray(4)]] }),
      malformed,
    ],
    [
      'a protocol beyond its list',
      helloMessage({ extensions: [[16, vector(2, Buffer.from('05', 'hex'))]] }),
      malformed,
    ],
    ['a session id of 33', helloMessage({ sessionId: 33 }), malformed],
    ['bytes behind the extensions', addedTo(helloMessage({}), Buffer.from([0])), malformed],
    [
      'an extension cut off',
      addedTo(helloMessage({ bare: true }), vector(2, extension(10, Buffer.alloc(9)).subarray(0, 6))),
      malformed,
    ],
  ])('%s', (_, message, expected) => {
    expect(read(message)).toEqual(expected)
    expect(readClientHello(records(message, 7))).toEqual(expected)
  })

  test('what Node says of a name is the same hostname', () => {
    expect(serverNameOf('DB.Example')).toBe('db.example')
    for (const none of ['db.example.', '', 'a b', 'a,b', 'k\u212a.example', false, null, undefined] as const)
      expect(serverNameOf(none)).toBeUndefined()
  })
})

/** The message with more at its end, and a length that knows of it. */
function addedTo(message: Buffer, more: Buffer): Buffer {
  return Buffer.concat([message.subarray(0, 1), vector(3, Buffer.concat([message.subarray(4), more]))])
}

describe('what is no hello, or not yet', () => {
  test.each<[string, Uint8Array | string, unknown]>([
    ['nothing', '', 'more'],
    ['one byte', '\x16', 'more'],
    ['an HTTP request', 'GET / HTTP/1.1\r\n\r\n', malformed],
    ['SSH', 'SSH-2.0-OpenSSH_9.2\r\n', malformed],
    ['a hello of SSLv2', Buffer.from('802e0103010015000000100100800300800700c0', 'hex'), malformed],
    ['SSLv2 within the version of TLS', Buffer.from('16020100050100000100', 'hex'), malformed],
    ['an alert', Buffer.from('15030100020100', 'hex'), malformed],
    ['another message', Buffer.from('160301000402000000', 'hex'), malformed],
    ['a record of no bytes', Buffer.from('1603010000', 'hex'), malformed],
    ['a record of 65,535', Buffer.from('160301ffff01', 'hex'), malformed],
    ['a message of 16 MiB', Buffer.from('160301400001ffffff', 'hex'), 'too long'],
    [
      'a message just too long',
      records(Buffer.from(`01${(LONGEST_HELLO - 3).toString(16).padStart(6, '0')}`, 'hex')),
      'too long',
    ],
    [
      'another record in the middle',
      Buffer.concat([records(helloMessage({})).subarray(0, 5), Buffer.alloc(9)]),
      malformed,
    ],
    ['zeros', Buffer.alloc(1000), malformed],
  ])('%s', (_, sent, expected) => {
    expect(readClientHello(typeof sent === 'string' ? Buffer.from(sent, 'latin1') : sent)).toEqual(expected)
  })

  test('the longest there may be is read, one more is not, however it comes', () => {
    const room = LONGEST_HELLO - 5 - helloMessage({ names: ['a.example'], extensions: [[21, Buffer.alloc(0)]] }).length
    const longest = records(helloMessage({ names: ['a.example'], extensions: [[21, Buffer.alloc(room)]] }))
    expect(longest.length).toBe(LONGEST_HELLO)
    expect(readClientHello(longest)).toEqual({ serverName: 'a.example', alpn: [] })
    expect(readClientHello(longest.subarray(0, -1))).toBe('more')
    // The same with more records, so with more bytes.
    const more = records(unrecorded(longest), 4000)
    expect(readClientHello(more.subarray(0, LONGEST_HELLO))).toBe('too long')
    expect(readClientHello(Buffer.concat([longest, Buffer.alloc(70_000)]))).toEqual({
      serverName: 'a.example',
      alpn: [],
    })
  })

  test('of every beginning of a hello, more is wanted', () => {
    for (const size of [1, 3, 50, 16_384]) {
      const sent = records(helloMessage({ names: ['a.example'], alpn: ['h2'] }), size)
      for (let at = 0; at < sent.length; at += 1) expect(readClientHello(sent.subarray(0, at))).toBe('more')
    }
  })
})

describe('whatever comes', () => {
  test('bytes of any kind are an answer', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (bytes, recorded) => {
        const found = readClientHello(recorded ? records(bytes) : bytes)
        expect(typeof found === 'string' ? ['more', 'too long'] : [found]).toContainEqual(found)
      }),
      { numRuns: 2000, seed: 5 },
    )
  })

  test('20,000 hellos, whole, in pieces and broken', () => {
    const counts = fuzzHellos(readClientHello, 20_000, 1)
    for (const kind of ['hello', 'more', 'malformed']) expect(counts[kind]).toBeGreaterThan(500)
  })
})
