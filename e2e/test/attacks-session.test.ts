import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { DATA, FIN, framed, GO_AWAY, PING, type RawSession, RST, SYN, WINDOW, yamux } from '../world/attacker.ts'
import { type Lab, startLab } from '../world/lab.ts'
import { FRAMES_THAT_LIE } from '../world/lies.ts'
import { type Origin, startOrigin } from '../world/origin.ts'

// Row 74: inside a session that was let in, from somebody who holds a good token and speaks raw yamux.

const good = { v: 1, hostname: 'db.localhost', requestId: 'mine', purpose: 'tcp' }
const uncaught = vi.fn()
let origin: Origin
let lab: Lab
let steady: RawSession
beforeAll(async () => {
  process.on('uncaughtException', uncaught).on('unhandledRejection', uncaught)
  origin = await startOrigin(socket => socket.pipe(socket))
  lab = await startLab(`tcp://127.0.0.1:${origin.port}`)
  steady = await lab.visitor()
  steady.open(3, good)
  await steady.until(() => steady.answer(3)?.ok === true, 'a stream')
})
afterAll(async () => {
  await stillServed()
  expect(lab.daemon?.child.exitCode).toBe(null)
  await lab[Symbol.asyncDispose]()
  await origin[Symbol.asyncDispose]()
  process.off('uncaughtException', uncaught).off('unhandledRejection', uncaught)
  expect(uncaught).not.toHaveBeenCalled()
})

let said = 0
/** Another visitor's stream, open since before the first attack, carries bytes both ways. */
async function stillServed(): Promise<void> {
  const word = `still here ${++said}.`
  steady.send(yamux(DATA, 0, 3, word))
  await steady.until(() => steady.text(3).includes(word), 'the echo of another visitor')
}

/** The session's end as the control stream told it, if it did. */
function toldEnd(session: RawSession): string | undefined {
  const cut = session
    .text(1)
    .split('\n')
    .find(line => line.includes('"cut"') && !line.includes('"stream"'))
  return cut && JSON.parse(cut).problem.code
}

describe('a stream’s header that lies', () => {
  const huge = { ...good, permit: 'x'.repeat(16_400) }
  const identity = { kind: 'user', issuer: 'postern:service-token', subject: 'root', claims: {}, revokeKeys: [] }
  it.each<[string, unknown, string]>([
    ['another hostname', { ...good, hostname: 'other.localhost' }, 'DESTINATION_FORBIDDEN'],
    ['the team domain', { ...good, hostname: 'edge.localhost' }, 'DESTINATION_FORBIDDEN'],
    ['row 81: an option for ssh', { ...good, hostname: '-oProxyCommand=calc' }, 'PROTOCOL_VIOLATION'],
    ['row 81: a command', { ...good, hostname: '$(id)' }, 'PROTOCOL_VIOLATION'],
    ['row 81: upper case', { ...good, hostname: 'DB.localhost' }, 'PROTOCOL_VIOLATION'],
    ['row 81: a trailing dot', { ...good, hostname: 'db.localhost.' }, 'PROTOCOL_VIOLATION'],
    ['row 81: a port', { ...good, hostname: 'db.localhost:22' }, 'PROTOCOL_VIOLATION'],
    ['row 81: a line break', { ...good, hostname: 'db.localhost\n' }, 'PROTOCOL_VIOLATION'],
    ['a list for a hostname', { ...good, hostname: ['db.localhost'] }, 'PROTOCOL_VIOLATION'],
    ['a request id with a line break', { ...good, requestId: 'x\r\ny' }, 'PROTOCOL_VIOLATION'],
    ['another purpose', { ...good, purpose: 'connector' }, 'VERSION_UNSUPPORTED'],
    [
      'a prototype',
      '{"v":1,"hostname":"db.localhost","requestId":"x","purpose":"tcp","__proto__":{}}',
      'PROTOCOL_VIOLATION',
    ],
    ['a key nobody knows', { ...good, admin: true }, 'PROTOCOL_VIOLATION'],
    ['a version nobody speaks', { ...good, v: 2 }, 'VERSION_UNSUPPORTED'],
    ['no version', { ...good, v: undefined }, 'PROTOCOL_VIOLATION'],
    ['no JSON', '{nope', 'PROTOCOL_VIOLATION'],
    ['JSON of 16,000 brackets', '['.repeat(16_000), 'PROTOCOL_VIOLATION'],
    ['null', 'null', 'PROTOCOL_VIOLATION'],
    ['nothing', '', 'PROTOCOL_VIOLATION'],
    ['too much', huge, 'PROTOCOL_VIOLATION'],
    ['17 identities', { ...good, identities: Array(17).fill(identity) }, 'PROTOCOL_VIOLATION'],
  ])('%s: refused by its code, and the service sees nobody', async (_, header, code) => {
    const before = origin.connections
    const visitor = await lab.visitor()
    visitor.open(3, header)
    await visitor.until(() => visitor.answer(3) !== undefined, 'an answer')
    expect(visitor.answer(3)?.problem?.code).toBe(code)
    expect(origin.connections - before).toBe(0)
    // The allow twin, in the same session.
    visitor.open(5, good)
    await visitor.until(() => visitor.answer(5)?.ok === true, 'a yes')
    await expect.poll(() => origin.connections - before).toBe(1)
    visitor.pipe.destroy()
  })

  it('one that comes a byte at a time is waited for, and holds up nobody', async () => {
    const visitor = await lab.visitor()
    const bytes = framed(good)
    visitor.send(yamux(WINDOW, SYN, 3))
    for (const byte of bytes.subarray(0, -1)) visitor.send(yamux(DATA, 0, 3, Buffer.from([byte])))
    visitor.open(5, good)
    await visitor.until(() => visitor.answer(5)?.ok === true, 'a yes for the second')
    expect(visitor.answer(3)).toBe(undefined)
    visitor.send(yamux(DATA, 0, 3, bytes.subarray(-1)))
    await visitor.until(() => visitor.answer(3)?.ok === true, 'a yes for the first')
    visitor.pipe.destroy()
  })
})

describe('a control stream that lies', () => {
  const line = (text: string) => yamux(DATA, 0, 1, `${text}\n`)
  const cut = (stream: unknown) =>
    line(JSON.stringify({ type: 'cut', stream, problem: { code: 'ACCESS_ENDED', title: 'x', speaker: 'edge' } }))

  it.each<[string, readonly Buffer[], string]>([
    ['64 KiB and no end of line', [yamux(DATA, 0, 1, 'x'.repeat(65_537))], 'PROTOCOL_VIOLATION'],
    ['the same in single bytes', Array.from({ length: 65_537 }, () => yamux(DATA, 0, 1, 'x')), 'PROTOCOL_VIOLATION'],
    ['brackets', [line('['.repeat(60_000))], 'PROTOCOL_VIOLATION'],
    ['no UTF-8', [yamux(DATA, 0, 1, Buffer.from([0xff, 0x0a]))], 'PROTOCOL_VIOLATION'],
    ['a list', [line('[]')], 'PROTOCOL_VIOLATION'],
    ['a type that is none', [line('{"type":{}}')], 'PROTOCOL_VIOLATION'],
    ['a second hello', [line('{"v":1,"type":"hello"}')], 'PROTOCOL_VIOLATION'],
    ['a cut without a problem', [line('{"type":"cut","stream":3}')], 'PROTOCOL_VIOLATION'],
    ['a cut of "__proto__"', [cut('__proto__')], 'PROTOCOL_VIOLATION'],
    ['a cut of stream −1', [cut(-1)], 'PROTOCOL_VIOLATION'],
  ])('%s: the session is over, saying why', async (_, frames, code) => {
    const visitor = await lab.visitor()
    await visitor.until(() => visitor.text(1).includes('hello'), 'hello')
    visitor.send(...frames)
    await visitor.until(() => toldEnd(visitor) !== undefined, 'the reason')
    expect(toldEnd(visitor)).toBe(code)
    visitor.pipe.destroy()
    await stillServed()
  })

  it.each([
    ['no hello', yamux(DATA, SYN, 1, '{"type":"drain"}\n'), 'PROTOCOL_VIOLATION'],
    ['a version nobody speaks', yamux(DATA, SYN, 1, '{"v":99,"type":"hello"}\n'), 'VERSION_UNSUPPORTED'],
    ['a version that is text', yamux(DATA, SYN, 1, '{"v":"1","type":"hello"}\n'), 'PROTOCOL_VIOLATION'],
  ])('it begins with %s: refused', async (_, hello, code) => {
    const visitor = await lab.visitor(hello)
    await visitor.until(() => toldEnd(visitor) !== undefined, 'the reason')
    expect(toldEnd(visitor)).toBe(code)
    visitor.pipe.destroy()
  })

  it('cuts of streams that are not theirs cut nothing, and thousands of messages nobody knows are skipped', async () => {
    const before = origin.connections
    const visitor = await lab.visitor()
    visitor.open(3, good)
    await visitor.until(() => visitor.answer(3)?.ok === true, 'a yes')
    for (const stream of [1, 2, 3, 5, 4001, 2 ** 31]) visitor.send(cut(stream))
    const unknown = line('{"type":"unheard","x":1}'.padEnd(200, ' '))
    for (let n = 0; n < 50; n++) visitor.send(Buffer.concat(Array(100).fill(unknown)))
    visitor.send(line('{"type":"drain"}'), line('{"type":"drain"}'), yamux(DATA, 0, 3, 'on it goes'))
    await visitor.until(() => visitor.text(3).includes('on it goes'), 'the echo')
    expect(origin.connections - before).toBe(1)
    visitor.pipe.destroy()
    await stillServed()
  })

  it('the reason a visitor tells is its own word in the audit log, whoever it claims to be', async () => {
    const visitor = await lab.visitor()
    visitor.open(3, good)
    await visitor.until(() => visitor.answer(3)?.ok === true, 'a yes')
    visitor.send(cut(3), yamux(WINDOW, RST, 3))
    const ends = async () =>
      (await lab.edge.store.readAudit({ most: 20 })).filter(
        row => row.action === 'stream.end' && row.code === 'ACCESS_ENDED',
      )
    await expect.poll(async () => (await ends()).length, { timeout: 10_000 }).toBe(1)
    expect((await ends())[0]?.detail).toMatchObject({ said: 'client' })
    visitor.pipe.destroy()
  })
})

describe('frames that lie', () => {
  it.each(FRAMES_THAT_LIE)('%s: that session ends, and no other', async (_, frames) => {
    const visitor = await lab.visitor()
    await visitor.until(() => visitor.text(1).includes('hello'), 'hello')
    visitor.send(...frames)
    await visitor.over()
    await stillServed()
  })

  it('a stream before the hello is nobody’s', async () => {
    const before = origin.connections
    const visitor = await lab.visitor(yamux(DATA, SYN, 3, framed(good)))
    await visitor.over()
    expect(origin.connections - before).toBe(0)
  })

  it('60,000 empty frames, window updates of nothing and go-aways are of no consequence', async () => {
    const visitor = await lab.visitor()
    visitor.open(3, good)
    for (const frame of [yamux(DATA, 0, 3), yamux(WINDOW, 0, 3), yamux(GO_AWAY, 0, 0)])
      visitor.send(Buffer.concat(Array(20_000).fill(frame)))
    visitor.send(yamux(DATA, 0, 3, 'on it goes'), yamux(DATA, FIN, 3))
    await visitor.until(() => visitor.text(3).includes('on it goes'), 'the echo')
    visitor.pipe.destroy()
    await stillServed()
  })

  it('60,000 pings at once end the session of who does not read the answers; 5,000 are answered', async () => {
    const pings = (count: number) => Buffer.concat(Array.from({ length: count }, (_, n) => yamux(PING, SYN, 0, '', n)))
    const flood = await lab.visitor()
    flood.pipe.pause()
    flood.send(pings(60_000))
    await expect.poll(() => lab.edge.counts().sessions, { timeout: 10_000 }).toBe(1)
    flood.pipe.destroy()
    const visitor = await lab.visitor()
    visitor.send(pings(5000))
    await visitor.until(() => visitor.frames.filter(({ type }) => type === PING).length === 5000, 'all answers')
    visitor.pipe.destroy()
    await stillServed()
  })
})

describe('rapid reset', () => {
  it('10,000 streams opened and reset at once reach no service, and leave nothing', async () => {
    const before = { connections: origin.connections, counts: lab.edge.counts() }
    const visitor = await lab.visitor()
    for (let id = 3; id < 20_003; id += 200) {
      const both = (n: number) =>
        Buffer.concat([yamux(DATA, SYN, id + 2 * n, framed(good)), yamux(WINDOW, RST, id + 2 * n)])
      visitor.send(...Array.from({ length: 100 }, (_, n) => both(n)))
      await new Promise(resolve => setImmediate(resolve))
    }
    await stillServed()
    visitor.pipe.destroy()
    await expect.poll(() => lab.edge.counts(), { timeout: 10_000 }).toEqual(before.counts)
    expect(origin.connections - before.connections).toBeLessThan(100)
  })

  it('streams reset once the service answered are cut there too', async () => {
    // Whoever had 10,000 come to nothing has none taken for a second.
    await new Promise(resolve => setTimeout(resolve, 2000))
    const visitor = await lab.visitor()
    const open = origin.open.size
    for (let n = 0; n < 50; n++) visitor.open(3 + 2 * n, good)
    await visitor.until(
      () => Array.from({ length: 50 }, (_, n) => visitor.answer(3 + 2 * n)?.ok).every(Boolean),
      'fifty',
    )
    for (let n = 0; n < 50; n++) visitor.send(yamux(WINDOW, RST, 3 + 2 * n))
    await expect.poll(() => origin.open.size, { timeout: 10_000 }).toBe(open)
    visitor.pipe.destroy()
    await stillServed()
  })

  it('streams past what one session may have are refused, one by one', async () => {
    const visitor = await lab.visitor()
    const all = Buffer.concat(Array.from({ length: 4000 }, (_, n) => yamux(WINDOW, SYN, 3 + 2 * n)))
    // Each reset goes behind its reason, so the control stream needs room.
    visitor.send(yamux(WINDOW, 0, 1, '', 2 ** 30), all)
    const resets = () => visitor.frames.filter(({ type, flags, id }) => type === WINDOW && flags & RST && id > 1).length
    await visitor.until(() => resets() > 2500, 'resets')
    expect(visitor.closed).toBe(false)
    visitor.pipe.destroy()
    await stillServed()
  })
})

describe('row 143: somebody who reads nothing', () => {
  it('with 64 streams of a service that never stops costs two windows a stream and no more; gone, nothing', async () => {
    await using source = await startOrigin(socket => {
      const chunk = Buffer.alloc(65_536)
      const more = () => {
        while (!socket.destroyed && socket.write(chunk));
      }
      socket.on('drain', more)
      more()
    })
    await using other = await startLab(`tcp://127.0.0.1:${source.port}`)
    const held = () => process.memoryUsage().arrayBuffers / 2 ** 20
    const before = held()
    const visitor = await other.visitor()
    for (let n = 0; n < 64; n++) visitor.open(3 + 2 * n, good)
    await visitor.until(() => Array.from({ length: 64 }, (_, n) => visitor.answer(3 + 2 * n)?.ok).every(Boolean), 'all')
    visitor.pipe.pause()
    visitor.pipe.removeAllListeners('data')
    visitor.send(...Array.from({ length: 64 }, (_, n) => yamux(WINDOW, 0, 3 + 2 * n, '', 2 ** 30)))
    await new Promise(resolve => setTimeout(resolve, 2500))
    // 1 MiB of receive window and 1 MiB in the write queue a stream; the pipe's own queues; this test's copies.
    expect(held() - before).toBeLessThan(64 * 2.25 + 32)
    const second = await other.visitor()
    second.open(3, good)
    await second.until(() => second.text(3).length > 100_000, 'bytes for another visitor')
    second.pipe.destroy()
    visitor.pipe.destroy()
    await expect.poll(() => other.edge.counts().sessions, { timeout: 10_000 }).toBe(0)
    await expect.poll(() => source.open.size, { timeout: 10_000 }).toBe(0)
  })
})
