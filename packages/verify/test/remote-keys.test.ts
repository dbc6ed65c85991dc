// Numbers are rows of the catalogue in docs/security.md. The clock is the tests’ own: nothing waits for half a minute.
import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { PosternError } from '@postern/interface'
import { KeyRing } from '@postern/tokens'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createVerifier, type Verifier } from '../src/index.ts'
import { APP, type Endpoint, identityToken, startEndpoint, TEAM } from './endpoint.ts'

const MINUTE = 60_000
const ring = KeyRing.create()
let endpoint: Endpoint
let verifier: Verifier
let problems: PosternError[]

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['performance', 'Date'], now: Date.now() })
  endpoint = await startEndpoint(ring.jwks())
  problems = []
  verifier = createVerifier({
    teamDomain: TEAM,
    audience: APP,
    jwks: endpoint.url,
    onProblem: one => void problems.push(one),
  })
})
afterEach(async () => {
  vi.useRealTimers()
  await endpoint[Symbol.asyncDispose]()
})

const accepted = async (by = ring) =>
  expect(verifier.verify(await identityToken(by))).resolves.toMatchObject({ subject: '42' })
const refused = async (by: KeyRing, code = 'AUTH_REJECTED') =>
  expect(verifier.verify(await identityToken(by))).rejects.toMatchObject({ code })
/** A good token’s parts under a key that nobody has. */
async function withKid(kid: string): Promise<string> {
  const [, payload, signature] = (await identityToken(ring)).split('.')
  const header = { alg: 'ES256', typ: 'postern-identity+jwt', kid }
  return [Buffer.from(JSON.stringify(header)).toString('base64url'), payload, signature].join('.')
}

describe('fetching', () => {
  test('nothing is asked before the first token, then once for many at a time', async () => {
    expect(endpoint.asked).toBe(0)
    await Promise.all(Array.from({ length: 50 }, () => accepted()))
    expect(endpoint.asked).toBe(1)
  })

  test('goes the program’s own way where it has one, with the same limits', async () => {
    const asked: { url: string; redirect: string | undefined }[] = []
    verifier = createVerifier({
      teamDomain: TEAM,
      audience: APP,
      fetch: async (url, { redirect, signal }) => {
        signal.throwIfAborted()
        asked.push({ url: url.href, redirect })
        return Response.json(ring.jwks())
      },
    })
    await accepted()
    expect(asked).toEqual([{ url: `https://${TEAM}/.well-known/jwks.json`, redirect: 'error' }])
    expect(endpoint.asked).toBe(0)
  })

  test('a token that is no token of this kind asks nothing', async () => {
    for (const odd of ['a.b.c', 'x', await identityToken(ring, { typ: 'at+jwt' }), `${await identityToken(ring)}=`])
      await expect(verifier.verify(odd)).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    expect(endpoint.asked).toBe(0)
  })
})

describe('22: a storm of unknown keys', () => {
  test('1,000 of them lead to one question in each cooldown, and good tokens are as before', async () => {
    await accepted()
    expect(endpoint.asked).toBe(1)
    const storm = async () => {
      const tokens = await Promise.all(Array.from({ length: 1000 }, () => withKid(randomUUID())))
      const done = await Promise.allSettled(tokens.map(token => verifier.verify(token)))
      expect(
        done.every(
          one => one.status === 'rejected' && PosternError.is(one.reason) && one.reason.code === 'AUTH_REJECTED',
        ),
      ).toBe(true)
    }
    await storm()
    expect(endpoint.asked).toBe(1) // the set came less than a cooldown ago
    vi.advanceTimersByTime(30_000)
    await storm()
    expect(endpoint.asked).toBe(2)
    await accepted()
    vi.advanceTimersByTime(29_999)
    await storm()
    expect(endpoint.asked).toBe(2)
  })

  test('good tokens do not wait for an endpoint that hangs because of the storm', async () => {
    await accepted()
    vi.advanceTimersByTime(30_000)
    let release = () => {}
    const held = new Promise<void>(done => {
      endpoint.answer((_, response) => {
        release = () => void response.end('{}')
        done()
      })
    })
    let isWaiting = true
    const stranger = verifier.verify(await withKid('nobody')).catch(() => {
      isWaiting = false
    })
    await held
    await accepted()
    expect(isWaiting).toBe(true)
    release()
    await stranger
    expect(isWaiting).toBe(false)
  })

  test('a name that every object has is no key', async () => {
    for (const kid of ['__proto__', 'constructor', 'toString', 'keys'])
      await expect(verifier.verify(await withKid(kid))).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
  })
})

describe('23: rotation', () => {
  test('the next key is known before it signs: nothing is asked at the rotation', async () => {
    await accepted()
    const rotated = ring.rotate()
    endpoint.json(rotated.jwks())
    await accepted(rotated)
    await accepted(ring)
    expect(endpoint.asked).toBe(1)
  })

  test('a key that was never seen is asked for once the cooldown is over', async () => {
    await accepted()
    const twice = ring.rotate().rotate()
    endpoint.json(twice.jwks())
    await refused(twice)
    vi.advanceTimersByTime(30_000)
    await accepted(twice)
    await accepted(ring)
    expect(endpoint.asked).toBe(2)
  })
})

describe('24: a key that was removed', () => {
  test('is refused after five minutes, the others are not', async () => {
    await accepted()
    const bad = ring.list().find(key => key.state === 'current')!.kid
    const cleaned = ring.rotate().remove(bad)
    endpoint.json(cleaned.jwks())
    vi.advanceTimersByTime(5 * MINUTE - 1)
    await accepted(ring)
    vi.advanceTimersByTime(1)
    await refused(ring)
    await accepted(cleaned)
    expect(endpoint.asked).toBe(2)
  })
})

describe('21: an endpoint that fails', () => {
  const weak = generateKeyPairSync('rsa', { modulusLength: 512 }).publicKey.export({ format: 'jwk' })
  const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey.export({ format: 'jwk' })
  const good = ring.jwks().keys
  type Answer = Parameters<Endpoint['answer']>[0]
  const sends =
    (body: string | Buffer, headers: Record<string, string> = {}, status = 200): Answer =>
    (_, response) =>
      void response.writeHead(status, headers).end(body)
  const json = (value: unknown) => sends(JSON.stringify(value))
  const failures: [string, Answer][] = [
    ['10 MB', sends(JSON.stringify({ keys: good, padding: 'x'.repeat(10 << 20) }))],
    ['just above 256 KiB', sends(JSON.stringify({ keys: good, padding: 'x'.repeat(256 << 10) }))],
    [
      '10 MB that were packed',
      sends(gzipSync(JSON.stringify({ keys: good, padding: 'x'.repeat(10 << 20) })), { 'content-encoding': 'gzip' }),
    ],
    ['10,000 keys', json({ keys: Array.from({ length: 10_000 }, (_, index) => ({ kid: `${index}`, kty: 'oct' })) })],
    ['a redirect to the metadata service', sends('', { location: 'http://169.254.169.254/latest' }, 302)],
    ['a redirect to a file', sends('', { location: 'file:///etc/passwd' }, 302)],
    ['a redirect to itself', sends('', { location: '/.well-known/jwks.json' }, 307)],
    ['HTML', sends('<html>sign in</html>', { 'content-type': 'text/html' })],
    ['nothing', sends('')],
    ['null', json(null)],
    ['a list', json(good)],
    ['keys that are no list', json({ keys: { 0: good[0] } })],
    ['no keys', json({ keys: [] })],
    ['one kid twice', json({ keys: [...good, { ...good[0] }] })],
    ['one kid for a good and a symmetric key', json({ keys: [...good, { kty: 'oct', k: 'AAAA', kid: good[0]!.kid }] })],
    ['a symmetric key', json({ keys: good.map(({ kid }) => ({ kty: 'oct', k: 'AAAA', kid, alg: 'HS256' })) })],
    ['keys for encryption', json({ keys: good.map(key => ({ ...key, use: 'enc' })) })],
    ['keys for another use', json({ keys: good.map(({ use: _, ...key }) => ({ ...key, key_ops: ['deriveKey'] })) })],
    ['keys without a kid', json({ keys: good.map(({ kid: _, ...key }) => key) })],
    ['keys for another algorithm', json({ keys: good.map(key => ({ ...key, alg: 'HS256' })) })],
    ['private keys', json({ keys: ring.exportSecret().keys.map(key => ({ ...key.privateJwk, kid: key.kid })) })],
    [
      'RSA of 512 bits, and another curve',
      json({
        keys: [
          { ...weak, kid: good[0]!.kid },
          { ...p384, kid: good[1]!.kid },
        ],
      }),
    ],
    ['an error', sends(JSON.stringify({ keys: good }), {}, 500)],
    [
      'an answer cut off',
      (_, response) => void response.writeHead(200, { 'content-length': '9999' }).write('{', () => response.destroy()),
    ],
  ]

  test.each(failures)('%s: without keys nobody gets in; afterwards all is well', async (_name, answer) => {
    endpoint.answer(answer)
    await refused(ring, 'EDGE_UNREACHABLE')
    expect(problems).toHaveLength(1)
    expect(endpoint.asked).toBe(1) // no redirect was followed
    await refused(ring, 'EDGE_UNREACHABLE')
    expect(endpoint.asked).toBe(1)
    endpoint.json({ keys: good })
    vi.advanceTimersByTime(5_000)
    await accepted()
  })

  test.each(failures)('%s: the last good set stays', async (_name, answer) => {
    await accepted()
    endpoint.answer(answer)
    vi.advanceTimersByTime(5 * MINUTE)
    await accepted()
    expect(problems).toHaveLength(1)
    await accepted()
    expect(endpoint.asked).toBe(2)
  })

  test('good keys beside bad ones are used', async () => {
    endpoint.json({
      keys: [{ kty: 'oct', k: 'AAAA', kid: 'a' }, null, 7, { ...weak, kid: 'b' }, { kty: 'EC', kid: 'c' }, ...good],
    })
    await accepted()
  })

  test('a body that trickles is given up after five seconds', async () => {
    let timer: NodeJS.Timeout | undefined
    endpoint.answer((_, response) => {
      response.writeHead(200)
      timer = setInterval(() => response.write(' '), 100)
      response.on('close', () => clearInterval(timer))
    })
    await refused(ring, 'EDGE_UNREACHABLE')
    expect(problems[0]?.cause).toMatchObject({ name: 'TimeoutError' })
  })

  test('who waits for nothing: while it fails, good tokens are answered from the last set', async () => {
    await accepted()
    endpoint.answer((_, response) => void response.destroy())
    vi.advanceTimersByTime(5 * MINUTE)
    await accepted()
    let isGivenUp = false
    endpoint.answer((_, response) => {
      response.on('close', () => {
        isGivenUp = true
      })
    })
    vi.advanceTimersByTime(30_000)
    await accepted()
    await vi.waitFor(() => expect(endpoint.asked).toBe(3))
    await accepted()
    expect(isGivenUp).toBe(false) // it was asked, it has not answered, and nobody waited for it
  })

  test('after a day without an answer the last set is not believed any more', async () => {
    await accepted()
    endpoint.answer((_, response) => void response.writeHead(503).end())
    vi.advanceTimersByTime(24 * 60 * MINUTE - 1)
    await accepted()
    vi.advanceTimersByTime(1)
    await refused(ring, 'EDGE_UNREACHABLE')
    endpoint.json({ keys: good })
    vi.advanceTimersByTime(30_000)
    await accepted()
  })

  test('a listener that throws harms nobody', async () => {
    verifier = createVerifier({
      teamDomain: TEAM,
      audience: APP,
      jwks: endpoint.url,
      onProblem: () => {
        throw new Error('mine')
      },
    })
    endpoint.answer(sends('', {}, 500))
    await refused(ring, 'EDGE_UNREACHABLE')
    vi.advanceTimersByTime(5_000)
    endpoint.json({ keys: good })
    await accepted()
  })
})
