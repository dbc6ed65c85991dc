import { content } from '@postern/compliance/random'
import { describe, expect, test } from 'vitest'
import { encodeHeader } from '../src/frame.ts'
import { FrameParser } from '../src/parser.ts'

function trace(feed: (parser: FrameParser) => void): { events: string[]; payload: Buffer; parser: FrameParser } {
  const events: string[] = []
  const slices: Buffer[] = []
  const parser = new FrameParser({
    frame: (type, flags, id, length) => void events.push(`${type} ${flags} ${id} ${length}`),
    payload: slice => void slices.push(slice),
    payloadEnd: () => void events.push('payload end'),
    violation: message => void events.push(`violation: ${message}`),
  })
  feed(parser)
  return { events, payload: Buffer.concat(slices), parser }
}

const transcript: Buffer = Buffer.concat([
  encodeHeader(1, 1, 1, 786_432),
  encodeHeader(0, 0, 1, 5),
  Buffer.from('hello'),
  encodeHeader(2, 1, 0, 7),
  encodeHeader(0, 4, 0xffffffff, 30_000),
  content(5, 0, 30_000),
  encodeHeader(0, 0, 3, 0),
  encodeHeader(1, 8, 1, 0xffffffff),
  encodeHeader(3, 0, 0, 2),
])
const expected = [
  '1 1 1 786432',
  '0 0 1 5',
  'payload end',
  '2 1 0 7',
  '0 4 4294967295 30000',
  'payload end',
  '0 0 3 0',
  '1 8 1 4294967295',
  '3 0 0 2',
]

describe('frame parser', () => {
  test.each([1, 2, 3, 7, 11, 12, 13, 24, 1000, 29_999, 1_000_000])('the same frames in segments of %d bytes', size => {
    const { events, payload, parser } = trace(p => {
      for (let at = 0; at < transcript.length; at += size) p.push(transcript.subarray(at, at + size))
    })
    expect(events).toEqual(expected)
    expect(payload.equals(Buffer.concat([Buffer.from('hello'), content(5, 0, 30_000)]))).toBe(true)
    expect(parser.atBoundary).toBe(true)
  })

  test('payload is a view of the chunk it came in, not a copy', () => {
    const chunk = Buffer.concat([encodeHeader(0, 0, 1, 3), Buffer.from('abc')])
    const slices: Buffer[] = []
    new FrameParser({ frame() {}, payload: slice => void slices.push(slice), payloadEnd() {}, violation() {} }).push(
      chunk,
    )
    expect(slices[0]!.buffer).toBe(chunk.buffer)
  })

  test('a header or payload in work is not a boundary', () => {
    expect(trace(p => p.push(transcript.subarray(0, 11))).parser.atBoundary).toBe(false)
    expect(trace(p => p.push(transcript.subarray(0, 12))).parser.atBoundary).toBe(true)
    expect(trace(p => p.push(transcript.subarray(0, 26))).parser.atBoundary).toBe(false)
  })

  test('a length of 4 GiB is announced and buffers nothing', () => {
    const { events, payload } = trace(p => {
      p.push(encodeHeader(0, 0, 1, 0xffffffff))
      p.push(Buffer.alloc(1000))
    })
    expect(events).toEqual(['0 0 1 4294967295'])
    expect(payload.length).toBe(1000)
  })

  test.each([
    ['unknown version 1', Buffer.from([1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0])],
    ['unknown frame type 4', Buffer.from([0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0])],
  ])('%s stops it', (message, bytes) => {
    const { events } = trace(p => {
      p.push(Buffer.concat([bytes, transcript]))
      p.push(transcript)
    })
    expect(events).toEqual([`violation: ${message}`])
  })

  test('a sink that stops it inside a chunk gets nothing more', () => {
    const events: string[] = []
    const parser: FrameParser = new FrameParser({
      frame: (type, _flags, id) => {
        events.push(`${type} ${id}`)
        if (events.length === 2) parser.stop()
      },
      payload: () => void events.push('payload'),
      payloadEnd: () => void events.push('end'),
      violation: () => void events.push('violation'),
    })
    parser.push(transcript)
    expect(events).toEqual(['1 1', '0 1'])
  })
})
