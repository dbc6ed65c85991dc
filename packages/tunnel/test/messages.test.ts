import { YamuxSession } from '@postern/yamux'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { fitDetail, type HostMessage, MAX_MESSAGES, startTunnel } from '../src/index.ts'
import { readMessage } from '../src/messages.ts'
import { pipePair, turns } from './pipe.ts'
import { call, type Options, quiet, tunnels } from './rig.ts'

const JOIN: HostMessage = {
  type: 'join',
  ticket: 'abcdefghijklmnopqrstuvwxy2',
  requestId: 'req-1',
  hostname: 'db.example.com',
  visitor: 'oZ0-_x7Kb2QnYt5mWcVr3A',
}
const DECLINE: HostMessage = { type: 'decline', ticket: 'abcdefghijklmnopqrstuvwxy2', code: 'DRAINING' }
const COMING: HostMessage = { type: 'coming', ticket: 'abcdefghijklmnopqrstuvwxy2' }
const REPORT: HostMessage = {
  type: 'report',
  sid: 'req-1',
  event: 'stream.end',
  service: 'ssh',
  up: 10,
  down: 2 ** 40,
  ms: 5,
  code: 'STREAM_CUT',
  lost: 2,
}

const JOIN_CUT: HostMessage = { type: 'join-cut', sid: 'req-1', code: 'ACCESS_ENDED', message: 'it was revoked' }
const GRANT_KEYS: HostMessage = { type: 'grant-keys', token: 'eyJh.eyJi.c2ln' }
const NOTE: HostMessage = {
  type: 'note',
  sid: 'req-1',
  service: 'rdp',
  action: 'rdp.negotiate',
  allowed: true,
  detail: { requested: ['tls', 'nla'] },
}
const ALL = [JOIN, COMING, REPORT, NOTE, DECLINE, JOIN_CUT, GRANT_KEYS]

test('both ends tell each other’s host, in order; who does not listen is not disturbed', async () => {
  const heard: HostMessage[] = []
  const { client, server } = await tunnels({ onMessage: message => void heard.push(message) })
  for (const message of ALL) expect(server.tell(message)).toBe(true)
  expect(client.tell(REPORT)).toBe(true) // nobody listens there
  await Promise.all([client.ping(call), server.ping(call)])
  expect(heard).toEqual(ALL)
  await client.close()
  expect(server.tell(JOIN)).toBe(false)
  expect(await server.closed).toBeUndefined()
})

test('a host that fails at one loses that one alone', async () => {
  let heard = 0
  const onMessage = (): void => {
    heard += 1
    throw new Error('the host')
  }
  const { client, server } = await tunnels({ onMessage })
  server.tell(JOIN)
  server.tell(JOIN)
  await server.ping(call)
  expect(heard).toBe(2)
  await client.close()
})

test('what cannot be told is not', async () => {
  const { client, server } = await tunnels()
  const wrong = [
    { ...JOIN, ticket: 'ABC' },
    { ...REPORT, up: -1 },
    { type: 'drain' },
    { type: 'later' },
  ] as unknown as HostMessage[]
  for (const message of wrong) expect(() => server.tell(message)).toThrow('cannot be told')
  expect(server.tell(JOIN)).toBe(true) // the allow twin
  await client.close()
})

test('to an end that does not read, so many wait and no more', async () => {
  const { client, server, pipes } = await tunnels()
  pipes[0].pause()
  let told = 0
  while (told < 10_000 && server.tell(REPORT)) told += 1
  expect(told).toBeGreaterThanOrEqual(MAX_MESSAGES)
  expect(told).toBeLessThan(10_000)
  pipes[0].resume()
  await server.ping(call)
  expect(server.tell(REPORT)).toBe(true)
  await client.close()
})

test.each<[string, object]>([
  ['a ticket in capitals', { ...JOIN, ticket: 'ABCDEFGHIJKLMNOPQRSTUVWXY2' }],
  ['a ticket of another length', { ...JOIN, ticket: 'abc' }],
  ['no ticket', { ...JOIN, ticket: undefined }],
  ['no hostname', { ...JOIN, hostname: undefined }],
  ['a hostname with a space', { ...JOIN, hostname: 'db example' }],
  ['a visitor by a name', { ...JOIN, visitor: 'ann@example.com' }],
  ['a coming for nobody', { ...COMING, ticket: 'x' }],
  ['a decline of nothing', { ...DECLINE, ticket: undefined }],
  ['a decline with a sentence', { ...DECLINE, code: 'not today' }],
  ['a request id of two lines', { ...JOIN, requestId: 'a\nb' }],
  ['no sid', { ...REPORT, sid: undefined }],
  ['a sid that is too long', { ...REPORT, sid: 'x'.repeat(129) }],
  ['no event', { ...REPORT, event: 7 }],
  ['a service with an escape', { ...REPORT, service: '\u001b[2J' }],
  ['negative bytes', { ...REPORT, up: -1 }],
  ['bytes as text', { ...REPORT, down: '1' }],
  ['half a millisecond', { ...REPORT, ms: 0.5 }],
  ['a code that is a sentence', { ...REPORT, code: 'It broke' }],
  ['lost ones past counting', { ...REPORT, lost: 2 ** 60 }],
  ['a note of no stream', { ...NOTE, sid: undefined }],
  ['a note of nothing', { ...NOTE, action: undefined }],
  ['a note that does not say whether it was allowed', { ...NOTE, allowed: 'yes' }],
  ['a cut of no session', { ...JOIN_CUT, sid: undefined }],
  ['a cut without a code', { ...JOIN_CUT, code: undefined }],
  ['a cut with words that are none', { ...JOIN_CUT, message: 7 }],
  ['a cut with a book', { ...JOIN_CUT, message: 'x'.repeat(257) }],
  ['keys that are no token', { ...GRANT_KEYS, token: 'a b' }],
  ['keys of nine thousand characters', { ...GRANT_KEYS, token: 'x'.repeat(9000) }],
])('%s ends the session', async (_name, line) => {
  expect(await afterHearing(line)).toMatchObject({ code: 'PROTOCOL_VIOLATION' })
})

test.each<[string, object]>([
  ['the messages as they are', JOIN],
  ['a join of an older edge, which tells nobody apart', { ...JOIN, visitor: undefined }],
  ['a cut without words', { ...JOIN_CUT, message: undefined }],
  ['new keys', GRANT_KEYS],
  ['members of a later version', { ...JOIN, hurry: true }],
  ['an event of a later version', { type: 'report', event: 'stream.begin', what: [] }],
  ['a type of a later version', { type: 'joined', ticket: 1 }],
])('%s do not: the allow twin', async (_name, line) => {
  expect(await afterHearing(line)).toBe('alive')
})

test.each<[string, unknown, unknown]>([
  ['what it is', { user: 'ada', is: [true, null, 1.5] }, { user: 'ada', is: [true, null, 1.5] }],
  ['nothing', undefined, undefined],
  ['no control characters', { 'a\n': '\u001b[2J\u202eb\u0000' }, { 'a?': '?[2J?b?' }],
  ['at most 1,024 characters of JSON', 'x'.repeat(1023), { omitted: 1025 }],
  ['1,024 of them: the allow twin', 'x'.repeat(1022), 'x'.repeat(1022)],
  ['no ring', ring(), undefined],
  ['no bigint', 1n, undefined],
  ['own keys alone', JSON.parse('{"__proto__":{"a":1}}'), JSON.parse('{"__proto__":{"a":1}}')],
])('the detail of a note is %s', (_name, detail, fit) => {
  expect(fitDetail(detail)).toEqual(fit)
  expect(fitDetail(fitDetail(detail))).toEqual(fit)
  const note = readMessage({ ...NOTE, detail, action: 'two words\n' })
  expect(note).toEqual({ ...NOTE, detail: fit, action: 'two?words?' })
})

function ring(): object {
  const one: { self?: object } = {}
  one.self = one
  return one
}

test('whatever the fields are, what is read is what was told, or nothing', () => {
  const field = fc.oneof(fc.string(), fc.integer(), fc.double(), fc.constant(undefined), fc.constant(null))
  const keys = [
    'hostname',
    'ticket',
    'requestId',
    'sid',
    'event',
    'service',
    'up',
    'down',
    'ms',
    'code',
    'lost',
    'message',
    'token',
  ]
  const some = fc.record(Object.fromEntries(keys.map(key => [key, field])))
  fc.assert(
    fc.property(fc.constantFrom<HostMessage>(...ALL), some, fc.subarray(keys), (good, noise, kept) => {
      const value = { ...good, ...Object.fromEntries(kept.map(key => [key, noise[key]])) }
      let read: HostMessage | undefined
      try {
        read = readMessage(value)
      } catch {
        return
      }
      if (read !== undefined) expect(value).toMatchObject(read)
    }),
  )
})

/** A peer by hand says hello and this line. */
async function afterHearing(line: object, options: Options = {}): Promise<unknown> {
  const [near, far] = pipePair()
  const yamux = new YamuxSession(far, { role: 'client', onStream: () => {} })
  const control = yamux.open()
  control.on('error', () => {}).resume()
  control.write('{"v":1,"type":"hello"}\n')
  const tunnel = await startTunnel(near, { log: quiet, onMessage() {}, ...options, role: 'server' }, call)
  control.write(`${JSON.stringify(line)}\n`)
  await turns()
  const alive = tunnel.ping(call).then(
    () => 'alive',
    () => tunnel.closed,
  )
  const state = await alive
  yamux.destroy()
  await tunnel.closed
  return state
}
