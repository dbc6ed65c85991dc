import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Answers, echo, type FrontWorld, refuse, startFront, tell } from './front-world.ts'
import { parseAnswer, readAll } from './visitor.ts'

const host = 'Host: db.localhost\r\n'

let world: FrontWorld
const held: (() => void)[] = []
beforeAll(async () => {
  world = await startFront({
    exchange: exchange => {
      if (exchange.target.startsWith('/echo')) void echo(exchange).catch(() => {})
      else if (exchange.target.startsWith('/refuse')) refuse(exchange)
      else if (exchange.target.startsWith('/later')) void wait(50).then(() => tell(exchange))
      else if (exchange.target.startsWith('/held')) held.push(() => tell(exchange))
      else tell(exchange)
    },
  })
})
beforeEach(() => {
  world.seen.length = 0
})
afterAll(() => world[Symbol.asyncDispose]())

/** Everything that is answered to what is written, until the edge closes. */
async function all(bytes: string): Promise<string> {
  const socket = await world.dial()
  const text = readAll(socket)
  socket.write(bytes, 'latin1')
  return text
}

const last = `GET /last HTTP/1.1\r\n${host}Connection: close\r\n\r\n`
const bodies = (text: string) => text.match(/(GET|POST|HEAD) db\.localhost \S+?(?=HTTP\/1|\s|$)/g) ?? []

describe('one connection, many requests', () => {
  test('are answered one after the other, and the connection stays', async () => {
    const socket = await world.dial()
    const answers = new Answers(socket)
    for (let n = 0; n < 5; n += 1) {
      socket.write(`GET /${n} HTTP/1.1\r\n${host}\r\n`)
      expect(parseAnswer(await answers.next())).toMatchObject({ status: 200, body: `GET db.localhost /${n}` })
    }
    socket.write(`POST /echo HTTP/1.1\r\n${host}Content-Length: 5\r\n\r\nhello`)
    expect(parseAnswer(await answers.next()).body).toBe('hello')
    socket.destroy()
  })

  test('written at once, in order, however long one takes; a request is not begun before the one before it is answered', async () => {
    const text = await all(`GET /later HTTP/1.1\r\n${host}\r\nGET /2 HTTP/1.1\r\n${host}\r\n${last}`)
    expect(bodies(text)).toEqual(['GET db.localhost /later', 'GET db.localhost /2', 'GET db.localhost /last'])
  })

  test('more that wait than anybody needs cost the connection', async () => {
    const text = await all(`GET /held HTTP/1.1\r\n${host}\r\n`.repeat(100))
    expect(text).toBe('')
    expect(world.seen).toHaveLength(1)
    expect(world.seen[0]?.signal.aborted).toBe(true)
  })

  test('after one that says close, nothing is looked at', async () => {
    const text = await all(`${last}GET /after HTTP/1.1\r\n${host}\r\n`)
    expect(bodies(text)).toEqual(['GET db.localhost /last'])
    expect(world.seen).toHaveLength(1)
  })

  test('HEAD has no body, and the next answer begins where it should', async () => {
    const text = await all(`HEAD /refuse HTTP/1.1\r\n${host}\r\n${last}`)
    expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 401', 'HTTP/1.1 200'])
    expect(text).not.toContain('LOGIN_REQUIRED')
  })
})

describe('row 63: a body nobody reads', () => {
  test('that is small is thrown away, and the next request is answered', async () => {
    const text = await all(
      `POST /refuse HTTP/1.1\r\n${host}Content-Length: 30\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n....${last}`,
    )
    expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 401', 'HTTP/1.1 200'])
    expect(world.seen.map(({ target }) => target)).toEqual(['/refuse', '/last'])
  })

  test.each([
    ['is large', `Content-Length: 1000000\r\n\r\n`],
    ['has chunks', 'Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n'],
    ['was not asked for yet', 'Content-Length: 5\r\nExpect: 100-continue\r\n\r\n'],
  ])('that %s ends the connection, with the answer first', async (_, rest) => {
    const text = await all(`POST /refuse HTTP/1.1\r\n${host}${rest}GET /smuggled HTTP/1.1\r\n${host}\r\n`)
    expect(parseAnswer(text)).toMatchObject({ status: 401, code: 'LOGIN_REQUIRED' })
    expect(parseAnswer(text).headers.connection).toBe('close')
    expect(text.match(/HTTP\/1\.1 /g)).toHaveLength(1)
    expect(world.seen).toHaveLength(1)
  })

  test('the twin: one that is read is read, and 100 is said by whoever reads', async () => {
    const text = await all(
      `POST /echo HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n${last}`,
    )
    expect(text).toContain('\r\n\r\nhello')
    expect(bodies(text)).toEqual(['GET db.localhost /last'])
  })
})

describe('row 56: requests that two readers read in two ways', () => {
  const post = (head: string, body = '') => `POST /echo HTTP/1.1\r\n${host}${head}\r\n\r\n${body}`
  const smuggled = `GET /smuggled HTTP/1.1\r\n${host}\r\n`
  const chunked = `0\r\n\r\n${smuggled}`
  test.each([
    ['CL.TE', post('Content-Length: 6\r\nTransfer-Encoding: chunked', chunked)],
    ['TE.CL', post('Transfer-Encoding: chunked\r\nContent-Length: 4', chunked)],
    ['TE.TE, a coding nobody knows', post('Transfer-Encoding: xchunked', chunked)],
    ['TE.TE, a vertical tab', post('Transfer-Encoding: \x0bchunked', chunked)],
    ['two codings', post('Transfer-Encoding: chunked\r\nTransfer-Encoding: identity', chunked)],
    ['chunked twice', post('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked', chunked)],
    ['chunked, then another', post('Transfer-Encoding: chunked, identity', chunked)],
    ['another, then chunked', post('Transfer-Encoding: gzip, chunked', chunked)],
    ['a quoted coding', post('Transfer-Encoding: "chunked"', chunked)],
    ['two lengths', post('Content-Length: 0\r\nContent-Length: 5', smuggled)],
    ['the same length twice', post('Content-Length: 0\r\nContent-Length: 0', smuggled)],
    ['a list of lengths', post('Content-Length: 0, 0', smuggled)],
    ['a length with a sign', post('Content-Length: +5', smuggled)],
    ['a hexadecimal length', post('Content-Length: 0x5', smuggled)],
    ['a negative length', post('Content-Length: -1', smuggled)],
    ['an endless length', post(`Content-Length: ${'9'.repeat(30)}`, smuggled)],
    ['a bare LF', `POST /echo HTTP/1.1\n${host}Content-Length: 0\n\n${smuggled}`],
    ['a bare CR', post('A: b\rContent-Length: 0', smuggled)],
    ['a space before the colon', post('Content-Length : 0', smuggled)],
    ['a folded line', post('Content-Length:\r\n 0', smuggled)],
    ['a folded coding', post('Transfer-Encoding:\r\n chunked', chunked)],
    ['a line of no name', post(': x', smuggled)],
    ['a NUL', post('A: \0', smuggled)],
    ['a name of CGI', post('Content_Length: 0', smuggled)],
    ['a coding of CGI', post('Transfer_Encoding: chunked', smuggled)],
    ['a chunk that is longer than it says', post('Transfer-Encoding: chunked', `3\r\nhello\r\n0\r\n\r\n${smuggled}`)],
    ['a chunk of no length', post('Transfer-Encoding: chunked', `\r\n\r\n${smuggled}`)],
    ['a chunk of a signed length', post('Transfer-Encoding: chunked', `+0\r\n\r\n${smuggled}`)],
    ['a chunk extension with a CR', post('Transfer-Encoding: chunked', `0;a\rb\r\n\r\n${smuggled}`)],
    ['a chunk extension with a LF', post('Transfer-Encoding: chunked', `2;\nxx\r\n0\r\n\r\n${smuggled}`)],
    ['a version of its own', `GET / HTTP/1.1.1\r\n${host}\r\n`],
    ['HTTP/0.9', `GET /\r\n\r\n`],
    ['chunks in HTTP/1.0', `POST /echo HTTP/1.0\r\n${host}Transfer-Encoding: chunked\r\n\r\n${chunked}`],
  ])('%s: 400 and closed, and what is behind it is no request', async (_, bytes) => {
    const other = await world.dial()
    const answers = new Answers(other)
    const text = await all(bytes)
    other.write(`GET /other HTTP/1.1\r\n${host}\r\n`)
    expect(parseAnswer(await answers.next()).body).toBe('GET db.localhost /other')
    other.destroy()
    expect(parseAnswer(text).status).toBe(400)
    expect(text.match(/HTTP\/1\.1 /g)).toHaveLength(1)
    expect(world.seen.map(({ target }) => target)).not.toContain('/smuggled')
  })

  test('broken bytes behind a good request: it gets its answer, and the connection ends', async () => {
    const text = await all(`GET /later HTTP/1.1\r\n${host}\r\nGET /x HTTP/1.1\r\nA : b\r\n\r\n${last}`)
    expect(bodies(text)).toEqual(['GET db.localhost /later'])
    expect(world.seen).toHaveLength(1)
  })

  test('the twins pass: GET with a body, a chunk extension, trailers', async () => {
    expect(bodies(await all(`GET /body HTTP/1.1\r\n${host}Content-Length: 5\r\n\r\nhello${last}`))).toHaveLength(2)
    const text = await all(
      `POST /echo HTTP/1.1\r\n${host}Transfer-Encoding: Chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n${last}`,
    )
    expect(text).toContain('\r\n\r\nhello')
    expect(bodies(text)).toHaveLength(1)
  })
})

describe('row 44: which host it is for', () => {
  test.each([
    ['none', 'GET / HTTP/1.1\r\n\r\n'],
    ['two', `GET / HTTP/1.1\r\n${host}${host}\r\n`],
    ['two in a list', 'GET / HTTP/1.1\r\nHost: db.localhost, other.localhost\r\n\r\n'],
    ['with a user', 'GET / HTTP/1.1\r\nHost: a@db.localhost\r\n\r\n'],
    ['with a dot at the end', 'GET / HTTP/1.1\r\nHost: db.localhost.\r\n\r\n'],
    ['with %00', 'GET / HTTP/1.1\r\nHost: db.localhost%00\r\n\r\n'],
    ['with a port that is none', 'GET / HTTP/1.1\r\nHost: db.localhost:x\r\n\r\n'],
    ['with letters of elsewhere', 'GET / HTTP/1.1\r\nHost: b\xfccher.example\r\n\r\n'],
    ['another in the target', `GET https://other.localhost/ HTTP/1.1\r\n${host}\r\n`],
  ])('%s: 400', async (_, request) => {
    expect(parseAnswer(await all(request))).toMatchObject({ status: 400, code: 'HOSTNAME_INVALID' })
    expect(world.seen).toHaveLength(0)
  })

  test.each([
    ['as it is', `GET / HTTP/1.1\r\n${host}`],
    ['in upper case, with a port', 'GET / HTTP/1.1\r\nHost: DB.Localhost:8443\r\n'],
    ['in the target too', `GET https://db.localhost/ HTTP/1.1\r\n${host}`],
  ])('the twin %s passes', async (_, request) => {
    expect(bodies(await all(`${request}Connection: close\r\n\r\n`))).toEqual(['GET db.localhost /'])
  })
})

describe('row 48: names that look like the edge’s own', () => {
  test.each([
    'postern_identity',
    'Postern_Identity',
    'postern.identity',
    'POSTERN-CLIENT_ID',
    "postern'identity",
    'x_forwarded_for',
    'X-Forwarded_For',
    'transfer.encoding',
  ])('%s: 400', async name => {
    expect(parseAnswer(await all(`GET / HTTP/1.1\r\n${host}${name}: x\r\n\r\n`))).toMatchObject({
      status: 400,
      code: 'BAD_USAGE',
    })
    expect(world.seen).toHaveLength(0)
  })

  test.each(['postern-client-id', 'Postern-Access-Token', 'x_custom', 'x-posternish_y'])(
    'the twin %s passes',
    async name => {
      const text = await all(`GET / HTTP/1.1\r\n${host}${name}: x\r\nConnection: close\r\n\r\n`)
      expect(bodies(text)).toHaveLength(1)
      expect(world.seen[0]?.presented.headers[name.toLowerCase()]).toEqual(['x'])
    },
  )
})

describe('row 59 and methods', () => {
  test.each([
    ['to h2c', 'Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n'],
    ['to a WebSocket and h2c', 'Connection: upgrade\r\nUpgrade: websocket, h2c\r\n'],
    ['to TLS', 'Connection: upgrade\r\nUpgrade: TLS/1.0\r\n'],
    ['said twice', 'Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n'],
  ])('an upgrade %s: 400, and nobody hears of it', async (_, headers) => {
    const text = await all(`GET / HTTP/1.1\r\n${host}${headers}\r\n`)
    expect(parseAnswer(text)).toMatchObject({ status: 400, code: 'BAD_USAGE' })
    expect([world.seen.length, world.upgrades.length]).toEqual([0, 0])
  })

  test.each([
    ['CONNECT', 'CONNECT db.localhost:443', 405],
    ['TRACE', 'TRACE /', 405],
    ['OPTIONS *', 'OPTIONS *', 400],
  ])('%s is not answered here', async (_, start, status) => {
    expect(parseAnswer(await all(`${start} HTTP/1.1\r\n${host}\r\n`)).status).toBe(status)
    expect(world.seen).toHaveLength(0)
  })
})

test('row 51: what is ambiguous is refused; what is not comes in one spelling, for whoever reads it', async () => {
  expect(parseAnswer(await all(`GET /a/..%2fb HTTP/1.1\r\n${host}\r\n`))).toMatchObject({
    status: 400,
    code: 'BAD_USAGE',
  })
  expect(world.seen).toHaveLength(0)
  expect(bodies(await all(`GET /%61%2bb HTTP/1.1\r\n${host}Connection: close\r\n\r\n`))).toEqual([
    'GET db.localhost /a%2Bb',
  ])
  const [seen] = world.seen
  expect([seen?.target, seen?.presented.url, seen?.request.url]).toEqual(['/a%2Bb', '/a%2Bb', '/a%2Bb'])
})

test('who wants a page: a browser that navigates, and nobody else', async () => {
  const asked = async (head: string) => {
    await all(`${head}\r\n${host}Connection: close\r\n\r\n`)
    return world.seen.at(-1)?.isNavigation
  }
  const html = 'Accept: text/html,application/xhtml+xml;q=0.9\r\n'
  expect(await asked(`GET / HTTP/1.1\r\n${html}Sec-Fetch-Mode: navigate`)).toBe(true)
  expect(await asked(`HEAD / HTTP/1.1\r\n${html.trim()}`)).toBe(true)
  expect(await asked(`GET / HTTP/1.1\r\n${html}Sec-Fetch-Mode: cors`)).toBe(false)
  expect(await asked(`POST / HTTP/1.1\r\n${html.trim()}`)).toBe(false)
  expect(await asked('GET / HTTP/1.1\r\nAccept: */*')).toBe(false)
})
