import { PosternError } from '@postern/interface'
import { describe, expect, test } from 'vitest'
import { ControlReader, encodeControl } from '../src/control.ts'
import { encodeFrame, readFrame } from '../src/framing.ts'
import { encodeAnswer, encodeHeader, readAnswer, readHeader } from '../src/header.ts'
import { MAX_CONTROL_LINE, MAX_HEADER } from '../src/limits.ts'
import { FakeClock } from './fake-clock.ts'
import { type PipeEnd, pipePair, turns } from './pipe.ts'
import { headerOf } from './rig.ts'

function codeOf(act: () => unknown): string {
  try {
    act()
    return 'no error'
  } catch (error) {
    return PosternError.from(error).code
  }
}

const waiting = { what: 'a frame', ms: 30_000 }

describe('a frame at the start of a stream', () => {
  test('comes byte by byte; what follows it, and the end, wait for their reader', async () => {
    const [near, far] = pipePair()
    const frame = readFrame(far, { ...waiting, clock: new FakeClock() })
    for (const byte of encodeFrame({ a: 1 })) near.write(Buffer.of(byte))
    near.end('behind')
    expect(await frame).toEqual({ a: 1 })
    await turns() // nobody listens yet: neither bytes nor the end may get lost
    let text = ''
    for await (const chunk of far) text += chunk
    expect(text).toBe('behind')
  })

  test('followed by nothing but the end: the end waits', async () => {
    const [near, far] = pipePair()
    near.end(encodeFrame(true))
    expect(await readFrame(far, { ...waiting, clock: new FakeClock() })).toBe(true)
    await turns()
    expect(far.readableEnded).toBe(false)
    for await (const _ of far) expect.fail('no bytes were sent')
    expect(far.readableEnded).toBe(true)
  })

  test('that never completes is bounded in time, and leaves no timer and no listener', async () => {
    const clock = new FakeClock()
    const [near, far] = pipePair()
    near.write(encodeFrame({ a: 1 }).subarray(0, 4))
    const frame = readFrame(far, { ...waiting, clock })
    const failed = expect(frame).rejects.toMatchObject({ code: 'TIMED_OUT' })
    await clock.advance(30_000)
    await failed
    expect(clock.pending).toBe(0)
    expect(far.eventNames().filter(name => name === 'readable' || name === 'close')).toEqual([])
  })

  test.each([
    ['ends inside it', (near: PipeEnd) => near.end(Buffer.of(0, 9, 1)), 'PROTOCOL_VIOLATION'],
    ['ends before it', (near: PipeEnd) => near.end(), 'PROTOCOL_VIOLATION'],
    ['is empty', (near: PipeEnd) => near.write(Buffer.of(0, 0)), 'PROTOCOL_VIOLATION'],
    ['is too long', (near: PipeEnd) => near.write(Buffer.of(0x40, 1)), 'PROTOCOL_VIOLATION'],
    ['is not JSON', (near: PipeEnd) => near.write(Buffer.of(0, 1, 0x7b)), 'PROTOCOL_VIOLATION'],
    ['is not UTF-8', (near: PipeEnd) => near.write(Buffer.of(0, 3, 0x22, 0xff, 0x22)), 'PROTOCOL_VIOLATION'],
    ['is cut', (near: PipeEnd) => near.destroy(), undefined],
  ])('%s: refused', async (_name, act, code) => {
    const [near, far] = pipePair()
    const frame = readFrame(far, { ...waiting, clock: new FakeClock() })
    act(near)
    await expect(frame).rejects.toMatchObject(code === undefined ? { message: 'pipe reset' } : { code })
  })

  test('of the greatest length is read, one byte more cannot be sent', async () => {
    const most = 'x'.repeat(MAX_HEADER - 2)
    const [near, far] = pipePair()
    near.write(encodeFrame(most))
    expect(await readFrame(far, { ...waiting, clock: new FakeClock() })).toBe(most)
    expect(codeOf(() => encodeFrame(`${most}x`))).toBe('REQUEST_TOO_LARGE')
  })

  test('abort rejects with the reason', async () => {
    const abort = new AbortController()
    const frame = readFrame(pipePair()[0], { ...waiting, clock: new FakeClock(), signal: abort.signal })
    abort.abort('enough')
    await expect(frame).rejects.toBe('enough')
  })
})

describe('headers', () => {
  const identity = { kind: 'service', issuer: 'i', subject: 's', claims: { a: [1] }, revokeKeys: ['k'] } as const
  const full = { ...headerOf(), identities: [identity], permit: { redis: { commands: ['GET'] } } }

  test('come back as they were', () => {
    const read = (frame: Buffer): unknown => readHeader(JSON.parse(frame.subarray(2).toString()))
    expect(read(encodeHeader(full))).toEqual(full)
    expect(read(encodeHeader(headerOf()))).toEqual(headerOf())
    const http = { ...headerOf(), purpose: 'http' } as const
    expect(read(encodeHeader(http))).toEqual(http)
  })

  test.each([
    ['no version', { ...headerOf() }, 'PROTOCOL_VIOLATION'],
    ['another version', { ...headerOf(), v: 2 }, 'VERSION_UNSUPPORTED'],
    ['an unknown key', { ...headerOf(), v: 1, restrict: true }, 'PROTOCOL_VIOLATION'],
    ['an upper-case hostname', { ...headerOf(), v: 1, hostname: 'DB.example.com' }, 'PROTOCOL_VIOLATION'],
    ['a trailing dot', { ...headerOf(), v: 1, hostname: 'db.example.com.' }, 'PROTOCOL_VIOLATION'],
    ['a hostname with a path', { ...headerOf(), v: 1, hostname: 'db/../x' }, 'PROTOCOL_VIOLATION'],
    ['a line break in the request id', { ...headerOf(), v: 1, requestId: 'a\nb' }, 'PROTOCOL_VIOLATION'],
    ['row 153: a purpose of a later version', { ...headerOf(), v: 1, purpose: 'udp' }, 'VERSION_UNSUPPORTED'],
    ['a purpose that is no word', { ...headerOf(), v: 1, purpose: ['tcp'] }, 'PROTOCOL_VIOLATION'],
    ['no purpose', { ...headerOf(), v: 1, purpose: undefined }, 'PROTOCOL_VIOLATION'],
    ['identities of a shared stream', { ...full, v: 1, purpose: 'http', permit: undefined }, 'PROTOCOL_VIOLATION'],
    ['a permit of a shared stream', { ...headerOf(), v: 1, purpose: 'http', permit: null }, 'PROTOCOL_VIOLATION'],
    ['identities that are none', { ...headerOf(), v: 1, identities: [{ kind: 'user' }] }, 'PROTOCOL_VIOLATION'],
    ['too many identities', { ...headerOf(), v: 1, identities: Array(17).fill(identity) }, 'PROTOCOL_VIOLATION'],
    [
      'an identity of unknown kind',
      { ...headerOf(), v: 1, identities: [{ ...identity, kind: 'root' }] },
      'PROTOCOL_VIOLATION',
    ],
    ['a list', [], 'PROTOCOL_VIOLATION'],
    ['nothing', null, 'PROTOCOL_VIOLATION'],
  ])('with %s are refused', (_name, value, code) => {
    expect(codeOf(() => readHeader(value))).toBe(code)
  })

  test('answers: yes, a problem, and nothing else', () => {
    const read = (frame: Buffer): unknown => readAnswer(JSON.parse(frame.subarray(2).toString()))
    const refusal = {
      code: 'ORIGIN_REFUSED',
      status: 502,
      title: 't',
      next: 'n',
      requestId: 'r',
      speaker: 'daemon',
    } as const
    expect(read(encodeAnswer())).toBe(undefined)
    expect(read(encodeAnswer(refusal))).toEqual(refusal)
    expect(read(encodeAnswer({ ...refusal, title: '\\'.repeat(9000), detail: '€'.repeat(9000) }))).toBeDefined()
    for (const bad of [{ v: 1 }, { v: 1, ok: false }, { v: 1, ok: true, problem: refusal }, { v: 1, problem: {} }, 1]) {
      expect(codeOf(() => readAnswer(bad))).toBe('PROTOCOL_VIOLATION')
    }
  })
})

describe('the control stream', () => {
  function feed(...chunks: (string | Buffer)[]): unknown[] {
    const seen: unknown[] = []
    const reader = new ControlReader(message => seen.push(message))
    for (const chunk of chunks) reader.feed(Buffer.from(chunk))
    return seen
  }
  const hello = '{"v":1,"type":"hello"}\n'
  const drain = encodeControl({ type: 'drain' })

  test('lines come whole or in pieces, unknown types are skipped', () => {
    const all = Buffer.concat([Buffer.from(`${hello}{"type":"later","x":1}\n`), drain, drain])
    const wanted = [{ type: 'hello', v: 1 }, { type: 'drain' }, { type: 'drain' }]
    expect(feed(all)).toEqual(wanted)
    expect(feed(...[...all].map(byte => Buffer.of(byte)))).toEqual(wanted)
  })

  test.each([
    ['an unknown version', '{"v":2,"type":"hello"}\n', 'VERSION_UNSUPPORTED'],
    ['no version', '{"type":"hello"}\n', 'PROTOCOL_VIOLATION'],
    ['no hello', '{"type":"drain"}\n', 'PROTOCOL_VIOLATION'],
    ['an about that is text', '{"v":1,"type":"hello","about":"x"}\n', 'PROTOCOL_VIOLATION'],
    ['an about that is a list', '{"v":1,"type":"hello","about":[]}\n', 'PROTOCOL_VIOLATION'],
    ['an about that is null', '{"v":1,"type":"hello","about":null}\n', 'PROTOCOL_VIOLATION'],
    ['an about of 13 KiB', `{"v":1,"type":"hello","about":{"x":"${'é'.repeat(6500)}"}}\n`, 'PROTOCOL_VIOLATION'],
    [
      'an about as deep as a line is long',
      `{"v":1,"type":"hello","about":{"x":${'['.repeat(30_000)}${']'.repeat(30_000)}}}\n`,
      'PROTOCOL_VIOLATION',
    ],
    ['an about of another version', '{"v":2,"type":"hello","about":{"x":1}}\n', 'VERSION_UNSUPPORTED'],
    ...[0, 999, -1].map((v): [string, string, string] => [
      `version ${v}`,
      `{"v":${v},"type":"hello"}\n`,
      'VERSION_UNSUPPORTED',
    ]),
    ...['"1"', 'null', '1.5', '[1]', '1e999'].map((v): [string, string, string] => [
      `version ${v}`,
      `{"v":${v},"type":"hello"}\n`,
      'PROTOCOL_VIOLATION',
    ]),
    ['two hellos', hello + hello, 'PROTOCOL_VIOLATION'],
    ['no JSON', `${hello}{\n`, 'PROTOCOL_VIOLATION'],
    ['an empty line', `${hello}\n`, 'PROTOCOL_VIOLATION'],
    ['a list', `${hello}[]\n`, 'PROTOCOL_VIOLATION'],
    ['no type', `${hello}{}\n`, 'PROTOCOL_VIOLATION'],
    ['a cut without a problem', `${hello}{"type":"cut","stream":3}\n`, 'PROTOCOL_VIOLATION'],
    [
      'a cut of no stream',
      `${hello}{"type":"cut","stream":"3","problem":{"code":"X","title":"t"}}\n`,
      'PROTOCOL_VIOLATION',
    ],
    ['a line without end', hello + ' '.repeat(MAX_CONTROL_LINE + 1), 'PROTOCOL_VIOLATION'],
  ])('%s ends it', (_name, text, code) => {
    expect(codeOf(() => feed(text))).toBe(code)
  })

  test('the longest line is taken', () => {
    const line = `{"type":"drain"${' '.repeat(MAX_CONTROL_LINE - 16)}}`
    expect(line.length).toBe(MAX_CONTROL_LINE)
    expect(feed(`${hello}${line}\n`)).toHaveLength(2)
  })

  test('an unknown version names what was found and what is wanted', () => {
    expect(() => feed('{"v":7,"type":"hello"}\n')).toThrow(/version 7.*version 1/)
  })
})
