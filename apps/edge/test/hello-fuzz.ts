import { deepStrictEqual, strictEqual } from 'node:assert'
import type { HelloRead } from '../src/front/client-hello.ts'
import { anyHello, generator, mutated, records } from './hello.ts'

const HOSTNAME = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/
const MALFORMED = ['malformed']

/**
 * Reads hellos that are good, cut off, in pieces, and broken. Of a good one exactly what is in it is read, of its beginning nothing
 * but that more is wanted, as long as it may be; whatever else comes is one of the answers there are, and the same ones when it is read again.
 *
 * @returns how often each answer was given
 * @throws AssertionError
 */
export function fuzzHellos(
  read: (bytes: Uint8Array) => HelloRead,
  executions: number,
  seed: number,
): Record<string, number> {
  const random = generator(seed)
  const counts: Record<string, number> = { hello: 0, more: 0, 'too long': 0, malformed: 0 }
  const note = (found: HelloRead) => {
    const kind = typeof found === 'string' ? found : 'malformed' in found ? 'malformed' : 'hello'
    counts[kind] = (counts[kind] ?? 0) + 1
    done += 1
  }
  let done = 0
  while (done < executions) {
    const { message, name, alpn } = anyHello(random)
    const sent = records(message, 1 + random(random(2) === 0 ? 60 : 4000))
    const whole = read(sent)
    if (sent.length <= 16_384) deepStrictEqual(whole, name === undefined ? { alpn } : { serverName: name, alpn })
    note(whole)
    // In records of a few bytes a hello may be longer than what is waited for.
    const length = random(sent.length)
    const beginning = read(sent.subarray(0, length))
    strictEqual(beginning, length < 16_384 ? 'more' : 'too long')
    note(beginning)
    for (let times = 0; times < 14; times += 1) {
      const broken = mutated(sent, random)
      const found = read(broken)
      note(found)
      if (typeof found === 'string') continue
      // What is whole stays what it is, whatever follows.
      deepStrictEqual(read(Buffer.concat([broken, Buffer.alloc(random(9), random(256))])), found)
      if ('malformed' in found) deepStrictEqual(Object.keys(found), MALFORMED)
      else if (found.serverName !== undefined) {
        strictEqual(HOSTNAME.test(found.serverName), true)
        strictEqual(found.serverName.length <= 253, true)
      }
    }
  }
  return counts
}
