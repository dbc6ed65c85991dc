import assert from 'node:assert/strict'
import { once } from 'node:events'
import { duplexPair, Readable } from 'node:stream'
import { describe, test } from 'node:test'
import origin from '../src/origin.js'
import { Replies } from '../src/replies.js'
import { readCommands } from '../src/requests.js'

const log = { debug() {}, info() {}, warn() {}, error() {} }

/** @param {...string} words */
const command = (...words) => `*${words.length}\r\n${words.map(word => `$${word.length}\r\n${word}\r\n`).join('')}`

/** @param {string} sent @param {number} piece bytes of a chunk */
async function read(sent, piece = sent.length, largest = 1000) {
  const bytes = Buffer.from(sent, 'latin1')
  const chunks = []
  for (let at = 0; at < bytes.length; at += piece) chunks.push(bytes.subarray(at, at + piece))
  const found = []
  for await (const { name, bytes } of readCommands(Readable.from(chunks), largest))
    found.push([name, bytes.toString('latin1')])
  return found
}

describe('commands', () => {
  const many = [
    ['GET', command('get', 'a')],
    ['PING', 'PING\r\n'],
    ['', '\r\n'],
    ['SET', command('SET', 'a', '*1\r\n$8\r\nFLUSHALL\r\n\xff')],
    ['', '*0\r\n'],
    ['GET', '  get\ta \n'],
    ['?', command('', 'x')],
    ['?', command('g\u0000et')],
    ['?', command('x'.repeat(65))],
    ['"GET"', '"GET" a\r\n'],
  ]

  test('are found wherever they are cut, and stay as they were sent', async () => {
    const sent = many.map(([, bytes]) => bytes).join('')
    for (let piece = 1; piece <= sent.length; piece++) assert.deepEqual(await read(sent, piece), many, `by ${piece}`)
  })

  for (const sent of [
    '*1\r\n$4\r\nPINGxx',
    '*1\r\n$4\r\nPING\n\n',
    '*1\n$4\r\nPING\r\n',
    '*01\r\n$4\r\nPING\r\n',
    '*-1\r\n',
    '*1\r\n:4\r\n',
    '*1\r\n$-1\r\n',
    '*2\r\n*1\r\n$4\r\nPING\r\n',
    'GET a\u0000\r\n',
    'GET a\rFLUSHALL\r\n',
    'PI',
    '*1\r\n$4\r\nPI',
  ])
    test(`what could be read otherwise is refused: ${JSON.stringify(sent)}`, async () => {
      await assert.rejects(read(sent), { code: 'PROTOCOL_VIOLATION' })
      await assert.rejects(read(sent, 1), { code: 'PROTOCOL_VIOLATION' })
    })

  test('of the largest size pass, and one byte more is refused before it is there', async () => {
    const largest = command('SET', 'a', 'x'.repeat(900))
    assert.equal((await read(largest + largest, 7, largest.length)).length, 2)
    for (const sent of [largest, largest.slice(0, 40), '*9\r\n$9999999999\r\n', 'x'.repeat(largest.length)])
      await assert.rejects(read(sent, sent.length, largest.length - 1), { code: 'REQUEST_TOO_LARGE' })
  })
})

test('answers are counted wherever they are cut', () => {
  const answers = [
    '+OK\r\n',
    '-ERR no\r\n',
    ':7\r\n',
    '$-1\r\n',
    '$0\r\n\r\n',
    '$5\r\n+\r\n*1\r\n',
    '*-1\r\n',
    '*0\r\n',
  ]
  const nested = '*3\r\n*2\r\n:1\r\n$2\r\nab\r\n*0\r\n$-1\r\n'
  const sent = Buffer.from([...answers, nested, `+${'x'.repeat(99)}\r\n`].join(''))
  for (let piece = 1; piece <= sent.length; piece++) {
    const replies = new Replies()
    for (let at = 0; at < sent.length; at += piece) replies.read(sent.subarray(at, at + piece))
    assert.equal(replies.count, answers.length + 2, `by ${piece}`)
  }
})

/**
 * A user, and a Redis that only answers when the test says so.
 *
 * @param {import('@postern/interface').Json} permit
 */
async function serve(permit) {
  const [user, far] = duplexPair()
  const [near, redis] = duplexPair()
  /** @type {import('@postern/interface').ProtocolEvent[]} */
  const notes = []
  const server = await origin.create({ largestCommand: 1000 }, /** @type {never} */ ({}))
  const remote = {
    service: new URL('redis://localhost:6379'),
    identities: [],
    permit,
    dial: async () => near,
    /** @param {import('@postern/interface').ProtocolEvent} event */
    audit: event => void notes.push(event),
  }
  const served = server.serve({ accept: () => far }, remote, { signal: AbortSignal.timeout(5000), log })
  served.catch(() => {})
  return { user: hearing(user), redis: hearing(redis), served, notes }
}

/** A stream that remembers what it heard. @param {import('node:stream').Duplex} stream */
function hearing(stream) {
  let heard = ''
  stream.on('data', chunk => (heard += chunk)).on('end', () => (heard += '(end)'))
  stream.on('error', () => {})
  return Object.assign(stream, {
    /** @param {string} wanted all that it is to hear until now */
    async hears(wanted) {
      const deadline = AbortSignal.timeout(5000)
      while (heard.length < wanted.length)
        await Promise.race(['data', 'end'].map(event => once(stream, event, { signal: deadline })))
      assert.equal(heard, wanted)
    },
  })
}

const DENIED = "-NOPERM the rule that let you in does not permit 'flushall'\r\n"

describe('a permit', () => {
  test('lets through what it names; what it does not name Redis never hears of, and the connection goes on', async () => {
    const { user, redis, served, notes } = await serve({ commands: ['GET', 'PING'] })
    user.write(`${command('FLUSHALL')}PING\r\n`)
    await redis.hears('PING\r\n')
    redis.write('+PONG\r\n')
    await user.hears(`${DENIED}+PONG\r\n`)
    user.end()
    await redis.hears('PING\r\n(end)')
    redis.end()
    await user.hears(`${DENIED}+PONG\r\n(end)`)
    await served
    assert.deepEqual(notes, [{ action: 'redis.denied', allowed: false, detail: { command: 'FLUSHALL' } }])
  })

  test('answers in the order that was asked, whenever Redis answers', async () => {
    const { user, redis } = await serve({ commands: ['GET'] })
    const [a, b, c] = [command('GET', 'a'), 'GET b\r\n', `\r\n${command('GET', 'c')}`]
    user.write([a, b, command('FLUSHALL'), c, 'flushall\n'].join(''))
    await redis.hears(a + b)
    redis.write('$2\r\n\r')
    redis.write('\n\r\n$-1\r')
    await user.hears('$2\r\n\r\n\r\n$-1\r')
    redis.write('\n')
    await user.hears(`$2\r\n\r\n\r\n$-1\r\n${DENIED}`)
    await redis.hears(a + b + c)
    redis.write('+c\r\n')
    await user.hears(`$2\r\n\r\n\r\n$-1\r\n${DENIED}+c\r\n${DENIED}`)
    user.destroy()
  })

  test('does not keep somebody from hearing that Redis leaves', async () => {
    const { user, redis, served } = await serve({ commands: ['GET'] })
    user.end(command('GET', 'a') + command('FLUSHALL'))
    await redis.hears(command('GET', 'a'))
    redis.end()
    await user.hears('(end)')
    await served
  })

  test('that cannot be read lets nobody in, and Redis is not even dialled', async () => {
    const { served, redis } = await serve({ commands: 'GET' })
    await assert.rejects(served, { code: 'ACCESS_DENIED' })
    await redis.hears('')
  })

  test('holds for what is too large', async () => {
    const { user, redis, served } = await serve({ commands: ['SET'] })
    user.write(command('SET', 'a', 'x'.repeat(2000)))
    await assert.rejects(served, { code: 'REQUEST_TOO_LARGE' })
    await redis.hears('')
  })
})
