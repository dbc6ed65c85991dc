import { describe, expect, test } from 'vitest'
import { LAST_MESSAGE, LONGEST_MESSAGE, MessageReader } from '../src/messages.ts'
import { message } from './world.ts'

/** Reads in pieces of a size. */
function read(bytes: Buffer, size = bytes.length): { readonly data: Buffer; readonly reader: MessageReader } {
  const pieces: Buffer[] = []
  const reader = new MessageReader(piece => pieces.push(Buffer.from(piece)))
  for (let at = 0; at < bytes.length; at += size) reader.read(bytes.subarray(at, at + size))
  return { data: Buffer.concat(pieces), reader }
}

const frame = (body: readonly number[]): Buffer => Buffer.from([0, 0, 0, 0, body.length, ...body])

describe('messages', () => {
  test.each([1, 2, 3, 7, 4096])('read in pieces of %i bytes are the same', size => {
    const lengths = [0, 1, 126, 127, 128, 300, 16_384, 20_000]
    const all = lengths.map((length, at) => Buffer.alloc(length, at + 1))
    const { data, reader } = read(Buffer.concat([...all.map(one => message({ data: one })), LAST_MESSAGE]), size)
    expect(data.equals(Buffer.concat(all))).toBe(true)
    expect(reader.ended).toBe(true)
  })

  test('data that comes with the end is read first; an empty message is nothing', () => {
    const { data, reader } = read(Buffer.concat([message({}), message({ data: Buffer.from('last'), end: true })]), 1)
    expect([String(data), reader.ended]).toEqual(['last', true])
  })

  test('fields of a newer version are skipped, of every type', () => {
    const unknown = [0x18, 0xac, 0x02, 0x22, 3, 1, 2, 3, 0x29, 0, 0, 0, 0, 0, 0, 0, 0, 0x35, 0, 0, 0, 0]
    const { data, reader } = read(frame([...unknown, 0x0a, 2, 65, 66, ...unknown]), 1)
    expect([String(data), reader.isBetween]).toEqual(['AB', true])
  })

  test.each([
    ['a compressed message', [1], 12],
    ['a flag that is none', [7], 13],
    ['100 MB', [0, 0x06, 0x40, 0, 0], 8],
    ['one byte too many', [0, 0, 0x10, 0, 1], 8],
    ['a field that goes on behind its message', [0, 0, 0, 0, 2, 0x0a, 5], 13],
    ['a message that ends in a key', [0, 0, 0, 0, 1, 0x8a], 13],
    ['a message that ends before a length', [0, 0, 0, 0, 1, 0x0a], 13],
    ['data that is a number', [0, 0, 0, 0, 2, 0x08, 1], 13],
    ['an end that is bytes', [0, 0, 0, 0, 2, 0x12, 0], 13],
    ['field 0', [0, 0, 0, 0, 2, 0x02, 0], 13],
    ['a group', [0, 0, 0, 0, 1, 0x1b], 13],
    ['a number without end', [0, 0, 0, 0, 12, ...Array(12).fill(0xff)], 13],
    ['bytes behind the last message', [...LAST_MESSAGE, 0], 3],
  ])('row 78: %s is refused, whole and byte by byte', (_, bytes, status) => {
    for (const size of [bytes.length, 1])
      expect(() => read(Buffer.from(bytes), size)).toThrow(expect.objectContaining({ status }))
  })

  test('row 78: the longest message is taken', () => {
    const data = Buffer.alloc(LONGEST_MESSAGE - 4, 1)
    expect(read(message({ data })).data.length).toBe(data.length)
  })
})
