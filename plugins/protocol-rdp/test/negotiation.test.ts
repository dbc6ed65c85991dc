import { type Duplex, duplexPair } from 'node:stream'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readAnswered, readAsked } from '../src/negotiation.ts'
import { type Negotiated, watchNegotiation } from '../src/watch.ts'
import { answer, message, request } from './messages.ts'

describe('what a client asks for', () => {
  test.each<[string, Buffer, object]>([
    [
      'mstsc',
      request('Cookie: mstshash=CORP\\adam\r\n', 0x0b),
      { cookie: 'CORP\\adam', requested: ['tls', 'nla', 'nla-ex'] },
    ],
    ['no cookie', request('', 1), { requested: ['tls'] }],
    ['security of old', request('Cookie: mstshash=ada\r\n'), { cookie: 'ada', requested: ['rdp'] }],
    ['the same, said', request('', 0), { requested: ['rdp'] }],
    [
      'a load balancer’s token',
      request('Cookie: msts=3640205228.15629.0000\r\n', 3),
      { token: 'Cookie: msts=3640205228.15629.0000', requested: ['tls', 'nla'] },
    ],
    ['a protocol of later', request('', 0x80000041), { requested: ['tls', '0x80000040'] }],
    ['an empty cookie', request('Cookie: mstshash=\r\n', 1), { cookie: '', requested: ['tls'] }],
    [
      'a correlation id',
      message(0xe0, Buffer.concat([request('', 9).subarray(11), Buffer.alloc(36, 6)])),
      { requested: ['tls', 'nla-ex'] },
    ],
    [
      'control characters',
      request('Cookie: mstshash=a\u001b[2J\u0000\n\u0080b\r\n', 1),
      { cookie: 'a?[2J???b', requested: ['tls'] },
    ],
    [
      'a name without end',
      request(`Cookie: mstshash=${'x'.repeat(200)}\r\n`, 1),
      { cookie: 'x'.repeat(64), requested: ['tls'] },
    ],
  ])('%s', (_name, bytes, asked) => expect(readAsked(bytes)).toEqual(asked))

  test.each<[string, Buffer]>([
    ['an answer', answer(2, 1)],
    ['a length that is another', Buffer.concat([request('', 1), Buffer.from([0])])],
    ['a length indicator that is another', request('', 1).fill(7, 4, 5)],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['TLS', Buffer.from([22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3])],
    ['a cookie without end', request('Cookie: mstshash=ada')],
    ['half a negotiation', message(0xe0, Buffer.from([1, 0, 8, 0, 1]))],
    ['a negotiation of another length', message(0xe0, Buffer.from([1, 0, 9, 0, 1, 0, 0, 0]))],
    ['nothing', Buffer.alloc(0)],
  ])('%s is none', (_name, bytes) => expect(readAsked(bytes)).toBeUndefined())
})

describe('what the server makes of it', () => {
  test.each<[string, Buffer, object | undefined]>([
    ['TLS', answer(2, 1), { selected: 'tls' }],
    ['NLA', answer(2, 2), { selected: 'nla' }],
    ['a server of old', answer(), { selected: 'rdp' }],
    ['no', answer(3, 5), { refused: 'nla required' }],
    ['a no of later', answer(3, 99), { refused: 'code 99' }],
    ['a request', request('', 1), undefined],
    ['something else', message(0xd0, Buffer.alloc(8, 9)), undefined],
  ])('%s', (_name, bytes, answered) => expect(readAnswered(bytes)).toEqual(answered))
})

test('whatever comes, it is read or it is none, and what is read is short and clean', () => {
  const noise = fc.uint8Array({ maxLength: 300 }).map(bytes => Buffer.from(bytes))
  const shaped = noise.map(body => message(0xe0, body.subarray(0, 248)))
  fc.assert(
    fc.property(fc.oneof(noise, shaped), bytes => {
      const said = JSON.stringify([readAsked(bytes) ?? null, readAnswered(bytes) ?? null])
      expect(said).toMatch(/^[\x20-\x7e]{1,400}$/)
    }),
  )
})

/** Both ends, as the daemon has them, and what they say. */
function watched(): { client: Duplex; server: Duplex; tells: Negotiated[]; heard: () => [Buffer, Buffer] } {
  const [client, ours] = duplexPair()
  const [server, theirs] = duplexPair()
  const tells: Negotiated[] = []
  const heard: [Buffer[], Buffer[]] = [[], []]
  watchNegotiation(ours, theirs, one => void tells.push(one))
  ours.on('data', chunk => heard[0].push(chunk))
  theirs.on('data', chunk => heard[1].push(chunk))
  return { client, server, tells, heard: () => [Buffer.concat(heard[0]), Buffer.concat(heard[1])] }
}

const turn = () => new Promise(resolve => setTimeout(resolve, 5))

describe('two ends that are read along with', () => {
  const ASK = request('Cookie: mstshash=ada\r\n', 3)
  const asked = { cookie: 'ada', requested: ['tls', 'nla'] }

  test.each([1, 2, 7, 1000])(
    'in pieces of %i bytes, with more behind: told once, and every byte goes on',
    async size => {
      const { client, server, tells, heard } = watched()
      const there = Buffer.concat([ASK, Buffer.alloc(500, 'x')])
      const back = Buffer.concat([answer(2, 2), Buffer.alloc(500, 'y')])
      for (let at = 0; at < there.length; at += size) client.write(there.subarray(at, at + size))
      await turn()
      for (let at = 0; at < back.length; at += size) server.write(back.subarray(at, at + size))
      await turn()
      expect(tells).toEqual([{ ...asked, selected: 'nla' }])
      expect(heard()).toEqual([there, back])
    },
  )

  test.each<[string, Buffer, Buffer | undefined, object | undefined]>([
    ['a request that is none', Buffer.from('SSH-2.0-x\r\n'), undefined, { malformed: 'request' }],
    ['a request of the wrong length', Buffer.from([3, 0, 0, 5, 0]), undefined, { malformed: 'request' }],
    ['an answer that is none', ASK, Buffer.from('HTTP/1.1 400\r\n'), { ...asked, malformed: 'answer' }],
    ['a server that speaks first', Buffer.alloc(0), Buffer.from('220 hello\r\n'), { malformed: 'answer' }],
    ['half a request', ASK.subarray(0, 9), undefined, { unfinished: 'request' }],
    ['no answer', ASK, undefined, { ...asked, unfinished: 'answer' }],
    ['half an answer', ASK, answer(2, 1).subarray(0, 9), { ...asked, unfinished: 'answer' }],
    ['nobody who says anything', Buffer.alloc(0), undefined, undefined],
  ])('%s is noted as that, and passes', async (_name, there, back, told) => {
    const { client, server, tells, heard } = watched()
    if (there.length > 0) client.write(there)
    await turn()
    if (back) server.write(back)
    await turn()
    client.end()
    await turn()
    server.end()
    await turn()
    expect(tells).toEqual(told === undefined ? [] : [told])
    expect(heard()).toEqual([there, back ?? Buffer.alloc(0)])
  })

  test('who is done is not listened to any more', async () => {
    const [client, ours] = duplexPair()
    const [server, theirs] = duplexPair()
    const before = [ours, theirs].map(end => end.eventNames().length)
    watchNegotiation(ours, theirs, () => {})
    ours.on('data', () => {})
    theirs.on('data', () => {})
    client.write(ASK)
    await turn()
    server.write(answer(2, 1))
    await turn()
    for (const end of [ours, theirs]) expect(end.listenerCount('data')).toBe(1)
    expect([ours, theirs].map(end => end.eventNames().filter(name => name !== 'data').length)).toEqual(before)
  })
})
