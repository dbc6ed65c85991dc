import assert from 'node:assert/strict'
import { duplexPair } from 'node:stream'
import { test } from 'node:test'
import { Pipe } from '../src/pipe.js'

/** What a pipe made of bytes, and how it ended: `end`, or the code of its error. @param {...(number[])} chunks */
async function read(...chunks) {
  const [near, far] = duplexPair()
  const pipe = new Pipe(near, Buffer.alloc(0))
  let heard = ''
  const over = Promise.withResolvers()
  pipe.on('data', bytes => (heard += bytes))
  pipe.on('end', () => over.resolve('end'))
  pipe.on('error', error => over.resolve(/** @type {NodeJS.ErrnoException} */ (error).code))
  for (const chunk of chunks) far.write(Buffer.from(chunk))
  far.end()
  return [await over.promise, heard]
}

test('frames are put together wherever they were cut', async () => {
  const bytes = [0, 0, 0, 2, 0x68, 0x69, 0, 0, 0, 1, 0x21, 0, 0, 0, 0]
  assert.deepEqual(await read(bytes), ['end', 'hi!'])
  assert.deepEqual(await read(...bytes.map(byte => [byte])), ['end', 'hi!'])
})

test('an end that was not said is a cut', async () => {
  assert.deepEqual(await read([0, 0, 0, 2, 0x68]), ['STREAM_CUT', ''])
  assert.deepEqual(await read([0, 0, 0, 2, 0x68, 0x69]), ['STREAM_CUT', 'hi'])
})

test('a frame that would be larger than any is refused before it is there', async () => {
  assert.deepEqual(await read([255, 255, 255, 255]), ['PROTOCOL_VIOLATION', ''])
})
