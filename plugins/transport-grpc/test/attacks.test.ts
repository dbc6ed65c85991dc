import { once } from 'node:events'
import { createServer, type ServerHttp2Stream } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { problem } from '@postern/interface'
import { afterEach, describe, expect, test } from 'vitest'
import { dial } from '../src/dial.ts'
import { PROBLEM } from '../src/wire.ts'
import { answerOf, call, dialRequest, message, rawCall, startEdge, until } from './world.ts'

const surprises: unknown[] = []
const surprised = (error: unknown): void => void surprises.push(error)
process.on('uncaughtExceptionMonitor', surprised)

afterEach(() => {
  expect(surprises.splice(0)).toEqual([])
})

/** Nobody else notices anything. */
async function goesOn(edge: Awaited<ReturnType<typeof startEdge>>): Promise<() => Promise<void>> {
  const { pipe } = await edge.dial()
  const other = edge.pipes.at(-1)!
  return async () => {
    for (const [from, to] of [
      [pipe, other],
      [other, pipe],
    ] as const) {
      from.write('still here')
      expect(String((await once(to, 'data'))[0])).toBe('still here')
    }
  }
}

describe('row 78: calls that nobody may make', () => {
  test.each([
    ['a compressed message', Buffer.from([1, 0, 0, 0, 2, 0x0a, 0]), '12'],
    ['a flag that is none', Buffer.from([9, 0, 0, 0, 0]), '13'],
    ['a message of 100 MB', Buffer.from([0, 0x06, 0x40, 0, 0, 0x0a]), '8'],
    ['what is no message of ours', Buffer.from([0, 0, 0, 0, 2, 0x08, 1]), '13'],
    ['more behind the last message', Buffer.concat([message({ end: true }), message({ end: true })]), '3'],
  ])('%s ends that call with its status, and others live; a good one is taken', async (_, bytes, status) => {
    await using edge = await startEdge()
    const check = await goesOn(edge)
    const session = await edge.raw()
    const bad = rawCall(session)
    await once(bad, 'response')
    const pipe = edge.pipes.at(-1)!
    const cut = once(pipe.resume(), 'error').catch(thrown => [thrown])
    const answer = answerOf(bad)
    bad.write(bytes)
    expect((await cut)[0]).toMatchObject({ code: 'STREAM_CUT' })
    expect(await answer).toMatchObject({ 'grpc-status': status })
    const good = rawCall(session)
    await once(good, 'response')
    good.write(message({ data: Buffer.from('good') }))
    expect(String((await once(edge.pipes.at(-1)!, 'data'))[0])).toBe('good')
    await check()
  })

  test.each([
    [{ ':path': '/postern.transport.v1.Pipe/Other' }, '12'],
    [{ ':path': '/postern.transport.v1.Pipe/' }, '12'],
    [{ ':method': 'PUT' }, '3'],
    [{ 'grpc-encoding': 'gzip' }, '12'],
  ])('%j is refused before anybody is asked', async (headers, status) => {
    let asked = 0
    await using edge = await startEdge(async (incoming, keep) => {
      asked++
      keep(await incoming.accept())
    })
    const session = await edge.raw()
    const answer = await answerOf(rawCall(session, headers as unknown as Record<string, string>))
    expect(answer).toMatchObject({ ':status': 200, 'grpc-status': status, 'content-type': 'application/grpc' })
    expect(JSON.parse(Buffer.from(String(answer[PROBLEM]), 'base64').toString())).toHaveProperty('requestId')
    expect(asked).toBe(0)
    rawCall(session, { 'content-type': 'application/grpc+proto', 'grpc-encoding': 'identity' })
    await until(() => asked === 1)
  })

  test.each([
    { 'content-type': 'text/plain' },
    { 'content-type': 'application/grpc-web' },
    { 'content-type': 'application/grpc+json' },
    { ':path': '/postern.transport.v1.PipeX/Session' },
    { ':path': '/other.Service/Session' },
    { ':path': '/x/postern.transport.v1.Pipe/Session' },
  ])('%j is somebody else’s', async headers => {
    await using edge = await startEdge()
    const session = await edge.raw()
    const stream = rawCall(session, headers as unknown as Record<string, string>)
    const [head] = await once(stream, 'response')
    expect(head[':status']).toBe(418)
  })

  test('a storm of cancelled calls leaves nothing, and nobody else notices', async () => {
    await using edge = await startEdge()
    const check = await goesOn(edge)
    for (let round = 0; round < 5; round++) {
      const session = await edge.raw()
      for (let at = 0; at < 150; at++) {
        const stream = rawCall(session)
        stream.write(message({ data: Buffer.alloc(100) }))
        if (at % 3 === 0) stream.once('response', () => stream.close(8))
        else setImmediate(() => stream.close(8))
      }
      await new Promise(resolve => setTimeout(resolve, 50))
      session.destroy()
    }
    await until(() => edge.pipes.slice(1).every(pipe => pipe.destroyed))
    await check()
  })

  test('who is refused and goes on sending is not read into memory', async () => {
    await using edge = await startEdge(async incoming => incoming.reject(problem('ACCESS_DENIED', 'r-1')))
    const session = await edge.raw()
    const stream = rawCall(session)
    const answer = answerOf(stream)
    const chunk = Buffer.alloc(65_536)
    let sent = 0
    const more = (): void => {
      if (stream.destroyed || sent > 200e6) return
      sent += chunk.length
      stream.write(chunk, () => setImmediate(more))
    }
    more()
    expect(await answer).toMatchObject({ 'grpc-status': '7' })
  })
})

/** A server that answers calls as it is told. */
async function stranger(answer: (stream: ServerHttp2Stream) => void): Promise<{ port: number } & AsyncDisposable> {
  const server = createServer()
  const sessions = new Set<{ destroy(): void }>()
  server.on('session', session => sessions.add(session.on('error', () => {})))
  server.on('stream', (stream: ServerHttp2Stream) => {
    stream.on('error', () => {})
    answer(stream)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      for (const session of sessions) session.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

const head = { ':status': 200, 'content-type': 'application/grpc' }
const whole = Buffer.from(JSON.stringify(problem('ACCESS_DENIED', 'r-2'))).toString('base64')

describe('row 78: answers that no edge gives', () => {
  test.each([
    ['trailers only, status OK', { ...head, 'grpc-status': '0' }],
    ['trailers only, no problem', { ...head, 'grpc-status': '7' }],
    ['a status that is none', { ...head, 'grpc-status': 'x' }],
    ['a problem that is no base64', { ...head, 'grpc-status': '7', [PROBLEM]: '!!!' }],
    ['a problem that is no JSON', { ...head, 'grpc-status': '7', [PROBLEM]: Buffer.from('{').toString('base64') }],
    ['a problem twice', { ...head, 'grpc-status': '7', [PROBLEM]: [whole, whole] }],
    ['another content-type', { ...head, 'content-type': 'text/html' }],
    ['a redirect', { ':status': 302, location: '/' }],
  ])('%s is EDGE_PROTOCOL', async (_, headers) => {
    await using server = await stranger(stream => stream.respond(headers, { endStream: true }))
    await expect(dial(dialRequest(server.port), call())).rejects.toMatchObject({ code: 'EDGE_PROTOCOL' })
  })

  test('but a problem once is a refusal, with = or without', async () => {
    for (const value of [whole, whole.replace(/=+$/, '')]) {
      await using server = await stranger(stream =>
        stream.respond({ ...head, 'grpc-status': '7', [PROBLEM]: value }, { endStream: true }),
      )
      await expect(dial(dialRequest(server.port), call())).rejects.toMatchObject({
        code: 'ACCESS_DENIED',
        requestId: 'r-2',
      })
    }
  })

  test.each([
    ['a message of 100 MB', Buffer.from([0, 0x06, 0x40, 0, 0]), '0'],
    ['a compressed message', Buffer.from([1, 0, 0, 0, 1, 0]), '0'],
    ['half a message, and status OK', Buffer.from([0, 0, 0, 0, 9, 0x0a, 7, 1]), '0'],
    ['a good message, and another status', message({ data: Buffer.from('x') }), '14'],
    ['a good message, and no status', message({ data: Buffer.from('x') }), undefined],
  ])('%s cuts the pipe; a good one ends it', async (_, bytes, status) => {
    const answers = [
      [bytes, status],
      [message({ data: Buffer.from('all') }), '0'],
    ] as const
    let at = 0
    await using server = await stranger(stream => {
      const [body, its] = answers[at++]!
      stream.respond(head, { waitForTrailers: true })
      stream.on('wantTrailers', () => stream.sendTrailers(its === undefined ? {} : { 'grpc-status': its }))
      stream.end(body)
    })
    const bad = (await dial(dialRequest(server.port), call())).pipe
    await expect(once(bad.resume(), 'end')).rejects.toMatchObject({ code: 'STREAM_CUT' })
    const good = (await dial(dialRequest(server.port), call())).pipe
    await once(good.resume(), 'end')
  })
})
