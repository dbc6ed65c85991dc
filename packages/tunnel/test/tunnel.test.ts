import { once } from 'node:events'
import { type Duplex, PassThrough } from 'node:stream'
import { PosternError, problem } from '@postern/interface'
import { YamuxSession, type YamuxStream } from '@postern/yamux'
import { afterEach, describe, expect, test } from 'vitest'
import { encodeAnswer, encodeHeader } from '../src/header.ts'
import { beginTunnel, type OfferedTunnelStream, startTunnel, type Tunnel } from '../src/index.ts'
import { Offer } from '../src/offer.ts'
import { FakeClock } from './fake-clock.ts'
import { type PipeEnd, pipePair, turns, until } from './pipe.ts'
import { call, headerOf, type Options, quiet, taking, tunnels, watch } from './rig.ts'

const open = new Set<Tunnel>()
afterEach(async () => {
  await Promise.all([...open].map(tunnel => tunnel.close()))
  open.clear()
})

async function pair(near: Options = {}, far: Options = {}): Promise<{ client: Tunnel; server: Tunnel }> {
  const made = await tunnels(near, far)
  open.add(made.client).add(made.server)
  return made
}

/** The peer of a tunnel by hand: bare yamux, its control stream and what came on it. */
async function byHand(hello = '{"v":1,"type":"hello"}\n', options: Options = {}) {
  const [near, far] = pipePair()
  const offered: YamuxStream[] = []
  const yamux = new YamuxSession(far, { role: 'client', onStream: stream => void offered.push(stream) })
  const control = yamux.open()
  let said = ''
  control.on('data', chunk => {
    said += chunk
  })
  control.write(hello)
  const started = startTunnel(near, { log: quiet, ...options, role: 'server' }, call)
  return { yamux, control, offered, said: () => said, started }
}

async function text(stream: Duplex): Promise<string> {
  let all = ''
  stream.on('data', chunk => {
    all += chunk
  })
  await once(stream, 'end')
  return all
}

describe('hello', () => {
  test('both ends say it, and streams go both ways', async () => {
    const [atServer, atClient] = [taking(), taking()]
    const { client, server } = await pair(atClient, atServer)
    const there = await client.open(headerOf(), call)
    const back = await server.open(headerOf(), call)
    there.end('there')
    back.end('back')
    expect(await Promise.all([text(atServer.streams[0]!), text(atClient.streams[0]!)])).toEqual(['there', 'back'])
    expect(client.streams).toBe(2)
    atServer.streams[0]!.end()
    there.resume()
    await until('the stream to be gone on both ends', () => client.streams === 1 && server.streams === 1)
  })

  test('each end may say what it is, and hears what the other is', async () => {
    const about = { connector: 'x', connection: 1, nested: { list: [null, 'é'] } }
    const { client, server } = await pair({ about })
    expect(server.peerAbout).toEqual(about)
    expect(client.peerAbout).toBeUndefined()
    await server.ping(call)
  })

  test.each([
    ['too long', { x: 'y'.repeat(12 * 1024) }],
    ['no object', [] as never],
  ])('an about that is %s is not sent', async (_name, about) => {
    const [near, far] = pipePair()
    const started = startTunnel(near, { role: 'client', log: quiet, about }, call)
    await expect(started).rejects.toMatchObject({ code: 'OPTION_INVALID' })
    expect(near.destroyed).toBe(true)
    far.destroy()
  })

  test('a ping that nobody answers ends with its signal, or with the session', async () => {
    const [near, far] = pipePair()
    const answering = new YamuxSession(far, { role: 'client', onStream: () => {} })
    answering.open().write('{"v":1,"type":"hello"}\n')
    const tunnel = await startTunnel(near, { role: 'server', log: quiet }, call)
    await tunnel.ping(call)
    far.pause()
    const stop = new AbortController()
    const asked = tunnel.ping({ signal: stop.signal, log: quiet })
    stop.abort('enough')
    await expect(asked).rejects.toBe('enough')
    const lost = tunnel.ping(call)
    far.destroy()
    await expect(lost).rejects.toMatchObject({ code: 'SESSION_LOST' })
    await tunnel.closed
  })

  test('an unknown version is refused, naming both, and the other end hears why', async () => {
    const { yamux, said, started } = await byHand('{"v":2,"type":"hello"}\n')
    await expect(started).rejects.toMatchObject({ code: 'VERSION_UNSUPPORTED', message: /version 2.*version 1/ })
    await yamux.closed
    const lines = said()
      .trim()
      .split('\n')
      .map(line => JSON.parse(line) as unknown)
    expect(lines).toMatchObject([
      { v: 1, type: 'hello' },
      { type: 'cut', problem: { code: 'VERSION_UNSUPPORTED' } },
    ])
  })

  test('is not waited for by who begins: a stream goes behind this end’s own', async () => {
    const [near, far] = pipePair()
    const { tunnel, greeted } = beginTunnel(near, { role: 'client', log: quiet }, call)
    open.add(tunnel)
    const opening = tunnel.open(headerOf(), call)
    await turns()
    const { streams, onStream } = taking()
    open.add(await startTunnel(far, { role: 'server', log: quiet, onStream }, call))
    const stream = await opening
    await greeted
    stream.end('hello')
    expect(String((await once(streams[0]!, 'data'))[0])).toBe('hello')
  })

  test('that never comes fails what was opened before it, with the same', async () => {
    const [near, far] = pipePair()
    const onStream = (stream: YamuxStream) => void (stream.id === 1 && stream.write('{"v":2,"type":"hello"}\n'))
    const yamux = new YamuxSession(far, { role: 'server', onStream })
    const { tunnel, greeted } = beginTunnel(near, { role: 'client', log: quiet }, call)
    await expect(tunnel.open(headerOf(), call)).rejects.toMatchObject({ code: 'VERSION_UNSUPPORTED' })
    await expect(greeted).rejects.toMatchObject({ code: 'VERSION_UNSUPPORTED' })
    expect(await tunnel.closed).toMatchObject({ code: 'VERSION_UNSUPPORTED' })
    await yamux.closed
  })

  test('none within the deadline: TIMED_OUT; an answer in time is fine', async () => {
    const clock = new FakeClock()
    const [near, far] = pipePair()
    const started = startTunnel(near, { role: 'client', log: quiet, clock }, call)
    const failed = expect(started).rejects.toMatchObject({ code: 'TIMED_OUT' })
    await clock.advance(10_000)
    await failed
    await turns()
    expect([near.destroyed, far.destroyed, clock.pending]).toEqual([true, true, 0])

    const { yamux, control, started: other } = await byHand('', { clock })
    await clock.advance(9_000)
    control.write('{"v":1,"type":"hello"}\n')
    const tunnel = await other
    yamux.destroy()
    await tunnel.closed
    expect(clock.pending).toBe(0)
  })

  test.each([
    ['bytes that are not yamux', (far: Duplex) => far.write('HTTP/1.1 400 Bad Request\r\n\r\n'), 'PROTOCOL_VIOLATION'],
    ['a pipe that ends', (far: Duplex) => far.end(), 'SESSION_LOST'],
    ['a pipe that breaks', (far: Duplex) => far.destroy(), 'SESSION_LOST'],
  ])('%s instead of it', async (_name, act, code) => {
    const [near, far] = pipePair()
    const started = startTunnel(near, { role: 'client', log: quiet }, call)
    act(far)
    await expect(started).rejects.toMatchObject({ code })
    await until('the pipe to be gone', () => near.destroyed)
    far.destroy()
  })

  test('abort rejects with the reason and destroys the pipe', async () => {
    const abort = new AbortController()
    const [near] = pipePair()
    const started = startTunnel(near, { role: 'client', log: quiet }, { signal: abort.signal, log: quiet })
    abort.abort('enough')
    await expect(started).rejects.toBe('enough')
    expect(near.destroyed).toBe(true)
  })

  test('a limit out of its range is refused, and the pipe let go', async () => {
    const [near, far] = pipePair()
    const started = startTunnel(near, { role: 'client', log: quiet, limits: { window: 1 } }, call)
    await expect(started).rejects.toMatchObject({ code: 'OPTION_INVALID' })
    expect(near.destroyed).toBe(true)
    far.destroy()
  })

  test('a stream before it ends the session', async () => {
    const { yamux, started } = await byHand('')
    yamux.open().write(encodeHeader(headerOf()))
    await expect(started).rejects.toMatchObject({ code: 'PROTOCOL_VIOLATION' })
    expect(await yamux.closed).toMatchObject({ clean: false })
  })

  test('rubbish on the control stream later ends the session, and every stream with it', async () => {
    const { control, yamux, started } = await byHand(undefined, taking())
    const tunnel = await started
    const opening = tunnel.open(headerOf(), call)
    const failed = expect(opening).rejects.toMatchObject({ code: 'PROTOCOL_VIOLATION' })
    control.write('rubbish\n')
    await failed
    expect(await tunnel.closed).toMatchObject({ code: 'PROTOCOL_VIOLATION' })
    await yamux.closed
  })

  test('unknown messages are skipped', async () => {
    const { control, yamux, started } = await byHand()
    const tunnel = await started
    control.write('{"type":"of-a-later-version","x":[1]}\n')
    await turns()
    expect(tunnel.draining).toBe(false)
    yamux.destroy()
    await tunnel.closed
  })
})

describe('opening a stream', () => {
  test('header, identities and permit arrive; bytes sent right behind the header wait for accept', async () => {
    const offers: OfferedTunnelStream[] = []
    const { client } = await pair({}, { onStream: offered => void offers.push(offered) })
    const identity = { kind: 'user', issuer: 'i', subject: 's', claims: {}, revokeKeys: [] } as const
    const header = { ...headerOf('req-7'), identities: [identity], permit: { a: 1 } }
    const opening = client.open(header, call, Buffer.from('early '))
    await until('the offer', () => offers.length === 1)
    expect(offers[0]!.header).toEqual(header)
    const accepted = offers[0]!.accept()
    ;(await opening).end('late')
    expect(await text(accepted)).toBe('early late')
  })

  test('one that was accepted, and reset before its yes was read, is cut; it is not one too many', async () => {
    const { yamux, started, offered: taken } = await byHand()
    const tunnel = await started
    const opening = tunnel.open(headerOf(), call)
    await until('the stream', () => taken.length === 1)
    taken[0]!.accept()
    taken[0]!.destroy()
    await expect(opening).rejects.toMatchObject({ code: 'STREAM_CUT' })
    const refused = tunnel.open(headerOf(), call)
    await until('the next', () => taken.length === 2)
    taken[1]!.destroy()
    await expect(refused).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
    yamux.destroy()
    await tunnel.closed
  })

  test('a stream that says nothing but its header and its end: the end is not lost', async () => {
    const { yamux, started } = await byHand(undefined, { onStream: offered => void offers.push(offered) })
    const offers: OfferedTunnelStream[] = []
    const tunnel = await started
    yamux.open().end(encodeHeader(headerOf()))
    await until('the offer', () => offers.length === 1)
    await turns(50)
    expect(await text(offers[0]!.accept())).toBe('')
    yamux.destroy()
    await tunnel.closed
  })

  test('a refusal arrives with its code, speaker, request id and advice', async () => {
    const told = problem('ORIGIN_REFUSED', 'req-9', { speaker: 'daemon', detail: 'nobody there', next: 'Start it.' })
    const { client, server } = await pair({}, { onStream: offered => offered.reject(told) })
    await expect(client.open(headerOf(), call)).rejects.toMatchObject({
      code: 'ORIGIN_REFUSED',
      speaker: 'daemon',
      requestId: 'req-9',
      message: 'nobody there',
      next: 'Start it.',
    })
    await until('nothing to be left', () => client.streams + server.streams === 0)
  })

  test('an opener that does not take its refusal is reset', async () => {
    const clock = new FakeClock()
    const onStream = (offered: OfferedTunnelStream): void => offered.reject(problem('NOT_FOUND', 'r'))
    const { yamux, started } = await byHand(undefined, { clock, onStream })
    const tunnel = await started
    const stream = yamux.open()
    stream.write(encodeHeader(headerOf()))
    const seen = watch(stream)
    await until('the refusal', () => seen.ended)
    await clock.advance(4_000)
    expect(tunnel.streams).toBe(1)
    await clock.advance(1_000)
    expect(tunnel.streams).toBe(0)
    yamux.destroy()
    await tunnel.closed
  })

  test('nobody answers: both ends give up with TIMED_OUT, and accept() is too late', async () => {
    const clock = new FakeClock()
    const offers: OfferedTunnelStream[] = []
    const { client, server } = await pair({ clock }, { clock, onStream: offered => void offers.push(offered) })
    const failed = expect(client.open(headerOf(), call)).rejects.toMatchObject({ code: 'TIMED_OUT' })
    await clock.advance(29_000)
    expect(server.streams).toBe(1)
    await clock.advance(2_000)
    await failed
    await until('nothing to be left', () => client.streams + server.streams === 0)
    expect(() => offers[0]!.accept()).toThrow(expect.objectContaining({ code: 'TIMED_OUT' }))
    expect(offers[0]!.gone.reason).toMatchObject({ code: 'TIMED_OUT' })
    offers[0]!.reject(problem('NOT_FOUND', 'r')) // nothing happens
  })

  test('a header that never completes is refused after 30 s', async () => {
    const clock = new FakeClock()
    const { yamux, started } = await byHand(undefined, { clock })
    const tunnel = await started
    const stream = yamux.open()
    stream.write(encodeHeader(headerOf()).subarray(0, 20))
    stream.resume()
    await clock.advance(30_000)
    await clock.advance(5_000)
    expect(tunnel.streams).toBe(0)
    yamux.destroy()
    await tunnel.closed
  })

  test.each([
    ['an unknown version', Buffer.from('\0\x07{"v":9}'), 'VERSION_UNSUPPORTED'],
    ['rubbish', Buffer.from('\0\x07rubbish'), 'PROTOCOL_VIOLATION'],
  ])('%s in the header is refused; the session and other streams go on', async (_name, bytes, code) => {
    const taken = taking()
    const { yamux, started } = await byHand(undefined, taken)
    const tunnel = await started
    const [bad, good] = [yamux.open(), yamux.open()]
    good.write(encodeHeader(headerOf()))
    bad.write(bytes)
    const [answer] = (await once(bad, 'data')) as [Buffer]
    expect(JSON.parse(answer.subarray(2).toString())).toMatchObject({ problem: { code } })
    await until('the good one', () => taken.streams.length === 1)
    bad.destroy()
    await turns()
    expect(taken.streams[0]!.destroyed).toBe(false)
    yamux.destroy()
    await tunnel.closed
  })

  test('an answer that is none fails that stream alone', async () => {
    const { yamux, offered, started } = await byHand()
    const tunnel = await started
    const opening = tunnel.open(headerOf(), call)
    const other = tunnel.open(headerOf(), call)
    await until('both', () => offered.length === 2)
    offered[0]!.write(Buffer.from('\0\x02{}'))
    offered[1]!.write(encodeAnswer())
    await expect(opening).rejects.toMatchObject({ code: 'PROTOCOL_VIOLATION' })
    expect((await other).destroyed).toBe(false)
    yamux.destroy()
    await tunnel.closed
  })

  test('abort rejects with its reason and resets the stream', async () => {
    const offers: OfferedTunnelStream[] = []
    const { client, server } = await pair({}, { onStream: offered => void offers.push(offered) })
    const abort = new AbortController()
    const opening = client.open(headerOf(), { signal: abort.signal, log: quiet })
    const failed = expect(opening).rejects.toBe('enough')
    await until('the offer', () => offers.length === 1)
    expect(offers[0]!.gone.aborted).toBe(false)
    abort.abort('enough')
    await failed
    await until('nothing to be left', () => server.streams === 0)
    expect(offers[0]!.gone.reason).toMatchObject({ code: 'STREAM_CUT' })
    expect(offers[0]!.accept().destroyed).toBe(true)
    await expect(client.open(headerOf(), { signal: abort.signal, log: quiet })).rejects.toBe('enough')
  })

  test('whose opener has left already is void at once: nobody waits half a minute for an answer to it', async () => {
    const clock = new FakeClock()
    const stream = new PassThrough()
    stream.destroy()
    await once(stream, 'close')
    const settled: boolean[] = []
    const terms = { clock, answerMs: 30_000, closeMs: 5000, speaker: undefined }
    const offer = new Offer(stream, headerOf(), { ...terms, settled: isAccepted => void settled.push(isAccepted) })
    expect([settled, clock.pending, offer.gone.reason?.code]).toEqual([[false], 0, 'STREAM_CUT'])
    expect(offer.accept().destroyed).toBe(true)
  })

  test('is answered once', async () => {
    const errors: unknown[] = []
    let gone: AbortSignal | undefined
    const { client } = await pair(
      {},
      {
        onStream: offered => {
          gone = offered.gone
          offered.accept()
          for (const act of [() => offered.accept(), () => offered.reject(problem('NOT_FOUND', 'r'))]) {
            try {
              act()
            } catch (error) {
              errors.push(PosternError.from(error).code)
            }
          }
        },
      },
    )
    const stream = await client.open(headerOf(), call)
    expect(stream.destroyed).toBe(false)
    expect(errors).toEqual(['INTERNAL', 'INTERNAL'])
    stream.destroy()
    await until('the stream to be gone', () => client.streams === 0)
    expect(gone?.aborted).toBe(false) // it was answered
  })

  test('a host that throws refuses, or cuts what it had accepted; its message stays here', async () => {
    for (const accepts of [false, true]) {
      const { client } = await pair(
        {},
        {
          onStream: offered => {
            if (accepts) offered.accept()
            throw new Error('at 10.0.0.7')
          },
        },
      )
      const failure = client.open(headerOf(), call).then(
        async stream => stream.errored ?? ((await once(stream, 'error'))[0] as Error),
        (error: Error) => error,
      )
      expect(await failure).toMatchObject({ code: 'INTERNAL' })
      expect((await failure).message).not.toContain('10.0.0.7')
    }
  })

  test('an end without a handler takes none', async () => {
    const { client } = await pair()
    await expect(client.open(headerOf(), call)).rejects.toMatchObject({ code: 'BAD_USAGE' })
  })

  test('a header that cannot be sent', async () => {
    const { client } = await pair({}, taking())
    await expect(client.open({ ...headerOf(), hostname: 'A' }, call)).rejects.toMatchObject({ code: 'BAD_USAGE' })
    const permit = 'x'.repeat(20_000)
    await expect(client.open({ ...headerOf(), permit }, call)).rejects.toMatchObject({ code: 'REQUEST_TOO_LARGE' })
    expect(client.streams).toBe(0)
  })
})

describe('limits', () => {
  test('streams: the last one fits, the next does not, until one ends', async () => {
    const { client, server } = await pair({ limits: { streams: 3 } }, taking())
    const streams = [
      await client.open(headerOf(), call),
      await client.open(headerOf(), call),
      await client.open(headerOf(), call),
    ]
    await expect(client.open(headerOf(), call)).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
    streams[0]!.destroy()
    await until('it to be gone', () => server.streams === 2)
    await client.open(headerOf(), call)
  })

  test('streams, as the peer limits them', async () => {
    const { client } = await pair({}, { ...taking(), limits: { streams: 2 } })
    await client.open(headerOf(), call)
    await client.open(headerOf(), call)
    await expect(client.open(headerOf(), call)).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
    expect(client.streams).toBe(2)
  })

  test('unanswered offers and unanswered opens', async () => {
    const offers: OfferedTunnelStream[] = []
    const onStream = (offered: OfferedTunnelStream): void => void offers.push(offered)
    const { client } = await pair({ limits: { opening: 3 } }, { onStream, limits: { offered: 2 } })
    const openings = [0, 1, 2].map(() => client.open(headerOf(), call))
    await expect(client.open(headerOf(), call)).rejects.toMatchObject({
      code: 'LIMIT_EXCEEDED',
      message: /3 streams wait/,
    })
    await expect(openings[2]).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
    for (const offered of offers) offered.accept()
    await Promise.all(openings.slice(0, 2))
    const next = client.open(headerOf(), call)
    await until('the next offer', () => offers.length === 3)
    offers[2]!.accept()
    await next
  })
})

describe('drain', () => {
  test('no new streams from either end, those there finish, then it resolves', async () => {
    const taken = taking()
    let told = 0
    const { client, server } = await pair({ onDrain: () => told++ }, taken)
    const stream = await client.open(headerOf(), call)
    let drained = false
    const draining = server.drain(call).then(() => {
      drained = true
    })
    await until('the peer to know', () => client.draining)
    await expect(client.open(headerOf(), call)).rejects.toMatchObject({ code: 'DRAINING' })
    await expect(server.open(headerOf(), call)).rejects.toMatchObject({ code: 'DRAINING' })
    expect([drained, told]).toEqual([false, 1])
    taken.streams[0]!.end('to the end')
    stream.end()
    taken.streams[0]!.resume()
    expect(await text(stream)).toBe('to the end')
    await draining
    await server.close()
    expect([await client.closed, await server.closed]).toEqual([undefined, undefined])
  })

  test('a stream opened before the peer knew is refused with DRAINING', async () => {
    const { client, server } = await pair({}, taking())
    const opening = client.open(headerOf(), call)
    const draining = server.drain(call)
    await expect(opening).rejects.toMatchObject({ code: 'DRAINING' })
    await draining
  })

  test('abort rejects with its reason; it goes on draining', async () => {
    const { client, server } = await pair({}, taking())
    const stream = await client.open(headerOf(), call)
    const abort = new AbortController()
    const draining = server.drain({ signal: abort.signal, log: quiet })
    const failed = expect(draining).rejects.toBe('enough')
    abort.abort('enough')
    await failed
    expect([server.draining, stream.destroyed]).toEqual([true, false])
  })
})

describe('the end of a session', () => {
  test('close() is clean on both ends; streams still open are cut, not ended', async () => {
    const taken = taking()
    const { client, server } = await pair({}, taken)
    const stream = await client.open(headerOf(), call)
    const [here, there] = [watch(stream), watch(taken.streams[0]!)]
    await client.close()
    expect([await client.closed, await server.closed]).toEqual([undefined, undefined])
    expect(here).toMatchObject({ ended: false, error: { code: 'DRAINING' } })
    expect(there).toMatchObject({ ended: false, error: { code: 'DRAINING', speaker: 'client' } })
    await expect(client.open(headerOf(), call)).rejects.toMatchObject({
      code: expect.stringMatching(/DRAINING|SESSION_LOST/),
    })
  })

  test('both ends close at once', async () => {
    const { client, server } = await pair()
    await Promise.all([client.close(), server.close(), client.close()])
    expect([await client.closed, await server.closed]).toEqual([undefined, undefined])
  })

  test('a peer that does not take part in closing is left after the deadline', async () => {
    const clock = new FakeClock()
    const { client, pipes } = await tunnels({ clock })
    for (const pipe of pipes) (pipe as PipeEnd).frozen = true
    const closing = client.close()
    await clock.advance(5_000)
    await closing
    expect(await client.closed).toMatchObject({ code: 'TIMED_OUT' })
    expect(clock.pending).toBe(0)
    pipes[1].destroy()
  })

  test('cut(): every stream on both ends gets the reason, its own words stay here', async () => {
    const taken = taking()
    const { client, server } = await pair({}, taken)
    const stream = await client.open(headerOf(), call)
    const [here, there] = [watch(stream), watch(taken.streams[0]!)]
    server.cut(new PosternError('ACCESS_ENDED', 'revoked by admin@10.0.0.7', { requestId: 'req-5', speaker: 'edge' }))
    expect(taken.streams[0]!.destroyed).toBe(true) // at once, whatever the peer does
    const reason = { code: 'ACCESS_ENDED', requestId: 'req-5', speaker: 'edge' }
    expect(await client.closed).toMatchObject(reason)
    expect(await server.closed).toMatchObject(reason)
    expect(here).toMatchObject({ ended: false, error: reason })
    expect(there).toMatchObject({ ended: false, error: reason })
    expect(here.error!.message).not.toContain('10.0.0.7')
  })

  test('a pipe that breaks is SESSION_LOST, with its cause, on every stream', async () => {
    const { client, server, pipes } = await tunnels({}, taking())
    const stream = await client.open(headerOf(), call)
    const seen = watch(stream)
    pipes[0].destroy(new Error('unplugged'))
    expect(await client.closed).toMatchObject({ code: 'SESSION_LOST', cause: { cause: { message: 'unplugged' } } })
    expect(await server.closed).toMatchObject({ code: 'SESSION_LOST' })
    await until('the error', () => seen.closed)
    expect(seen).toMatchObject({ ended: false, error: { code: 'SESSION_LOST' } })
    await expect(client.open(headerOf(), call)).rejects.toMatchObject({ code: 'SESSION_LOST' })
    await client.drain(call)
    await client.close()
  })

  test('a pipe that ends cleanly under open streams is a cut of them', async () => {
    const { client, server, pipes } = await tunnels({}, taking())
    const seen = watch(await client.open(headerOf(), call))
    pipes[1].end()
    expect(await client.closed).toMatchObject({ code: 'SESSION_LOST' })
    expect(seen).toMatchObject({ ended: false, error: { code: 'SESSION_LOST' } })
    await server.closed
  })

  test('await using closes it', async () => {
    const { client, server } = await tunnels()
    {
      await using _tunnel = client
    }
    expect(await server.closed).toBe(undefined)
  })
})
