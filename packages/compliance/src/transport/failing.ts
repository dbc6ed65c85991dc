import assert from 'node:assert/strict'
import http from 'node:http'
import net, { type Socket } from 'node:net'
import { type Code, PosternError } from '@postern/interface'
import { type Case, testCase } from '../case.ts'
import { abortable, eventually, pause, rejection, rejectsWith, rejectsWithReason, within } from '../expect.ts'
import { carries } from '../flowing.ts'
import { deadPort, listen, shut, track } from '../listening.ts'
import { abortListeners } from '../resources.ts'
import { type TransportRig, type TransportSubject, withRig } from './rig.ts'

/** Aborts, edges that are none, and ports where nobody is. */
export function failingCases(subject: TransportSubject): readonly Case[] {
  return [
    testCase('abort before dial: rejects with signal.reason and connects nowhere', call =>
      withRig(subject, call, {}, async rig => {
        const reason = new Error('not today')
        const { request, connecting } = rig.request()
        const dialling = rig.transport.dial(request, { signal: AbortSignal.abort(reason), log: rig.log })
        await rejectsWithReason(dialling, reason, 'a dial aborted before it began')
        assert.equal(connecting.sockets.length, 0, 'nothing may be connected')
      }),
    ),
    testCase('abort while connecting: rejects with signal.reason', call =>
      withRig(subject, call, {}, async rig => {
        const own = abortable(call)
        const reason = new Error('too slow')
        const connect = (_: unknown, inner: typeof call): Promise<never> =>
          new Promise((_, reject) => {
            inner.signal.addEventListener('abort', () => reject(inner.signal.reason), { once: true })
          })
        const dialling = rig.dial({ connect }, own.call)
        setTimeout(() => own.abort(reason), 50)
        await rejectsWithReason(dialling, reason, 'a dial aborted while it connected')
      }),
    ),
    testCase('abort while connecting: a connection that comes too late is closed', call =>
      withRig(subject, call, {}, abandonedConnection),
    ),
    testCase('abort while the edge thinks: rejects with signal.reason and leaves', call =>
      withRig(subject, call, {}, abortedAtTheDoor),
    ),
    testCase('abort after dial: the pipe lives, and nobody listens to the signal any more', call =>
      withRig(subject, call, {}, async rig => {
        const own = abortable(call)
        const listening = abortListeners(own.call.signal)
        const dialling = rig.dial({}, own.call)
        const edge = await (await rig.next()).accept()
        edge.on('error', () => {})
        const { pipe } = await within(dialling, 'dial()')
        assert.equal(abortListeners(own.call.signal), listening, 'a listener on the signal was left behind')
        own.abort(new Error('over'))
        await pause(100)
        await carries(pipe, edge, 100_000)
        await carries(edge, pipe, 100_000)
      }),
    ),
    testCase('mount: an aborted call rejects with signal.reason and claims nothing', call =>
      withRig(subject, call, {}, async rig => {
        const reason = new Error('not now')
        const listener = await subject.createEdge()
        const before = rig.door.claims
        const mounting = listener.mount(rig.door, async () => {}, { signal: AbortSignal.abort(reason), log: rig.log })
        await rejectsWithReason(mounting, reason, 'mount() with an aborted call')
        assert.equal(rig.door.claims, before, 'nothing may be claimed')
        await listener[Symbol.asyncDispose]?.()
      }),
    ),
    testCase('mount: lets go on abort, and the pipes it handed over live on', call =>
      withRig(subject, call, {}, async rig => {
        const { pipe, edge } = await rig.pair()
        rig.unmount()
        await eventually(() => rig.door.claims === 0, 'the door must be free again')
        await carries(pipe, edge, 100_000)
        await carries(edge, pipe, 100_000)
        await rejectsWith(rig.dial(), ['EDGE_PROTOCOL'], 'a dial to a door that nobody holds')
      }),
    ),
    testCase('mount: leaves to others what is not its own', call =>
      withRig(subject, call, {}, async rig => {
        const { hostname, port } = rig.door.url
        const headers = { connection: 'Upgrade', upgrade: 'something-else' }
        const request = http.get({ hostname, port, headers, agent: false })
        const status = await within(
          new Promise<number | undefined>((resolve, reject) => {
            request.on('response', response => resolve(response.resume().statusCode))
            request.on('error', reject)
          }),
          'another upgrade must be answered by the door',
        )
        assert.equal(status, 404, 'the door’s own answer for what nobody claimed')
      }),
    ),
    testCase('a dead port: what connect threw comes through as it is', call =>
      withRig(subject, call, {}, async rig => {
        const edge = new URL(`http://127.0.0.1:${await deadPort()}`)
        const error = await rejectsWith(rig.dial({ edge }), ['EDGE_UNREACHABLE'], 'a dial to a dead port')
        assert.equal((error.cause as NodeJS.ErrnoException | undefined)?.code, 'ECONNREFUSED', 'the cause must be kept')
        const own = new PosternError('EDGE_UNTRUSTED', 'the certificate is not trusted')
        const thrown = await rejection(rig.dial({ connect: () => Promise.reject(own) }), 'connect threw')
        assert.equal(thrown, own, 'not wrapped')
      }),
    ),
    ...Object.entries(STRANGERS).map(([what, speak]) =>
      testCase(`an answer that is not an edge’s: ${what}`, call =>
        withRig(subject, call, {}, rig => meets(rig, speak, ['EDGE_PROTOCOL'])),
      ),
    ),
    testCase('an answer that is not an edge’s: closed without a word', call =>
      withRig(subject, call, {}, rig => meets(rig, socket => socket.end(), ['EDGE_PROTOCOL', 'EDGE_UNREACHABLE'])),
    ),
  ]
}

async function abandonedConnection(rig: TransportRig): Promise<void> {
  const own = abortable(rig.call)
  const reason = new Error('too slow')
  const { request, connecting } = rig.request()
  const late = async (): Promise<Socket> => {
    await pause(300)
    // A host that does not look at the signal: whoever asked must still close what it was given.
    return (await connecting.connect(undefined, rig.call)) as Socket
  }
  const dialling = rig.transport.dial({ ...request, connect: late }, own.call)
  setTimeout(() => own.abort(reason), 50)
  await rejectsWithReason(dialling, reason, 'a dial aborted while it connected')
  await eventually(() => connecting.sockets.length === 1, 'the late connection')
  await eventually(() => connecting.sockets[0]!.destroyed, 'a connection that came too late must be closed')
}

async function abortedAtTheDoor(rig: TransportRig): Promise<void> {
  const own = abortable(rig.call)
  const reason = new Error('changed my mind')
  const { request, connecting } = rig.request()
  const dialling = rig.transport.dial(request, own.call)
  const rejected = rejectsWithReason(dialling, reason, 'a dial aborted while the edge thought')
  const incoming = await rig.next()
  own.abort(reason)
  await rejected
  await eventually(() => connecting.sockets.every(socket => socket.destroyed), 'the client must close its connection')
  const accepting = incoming.accept().then(
    pipe => eventually(() => pipe.on('error', () => {}).destroyed, 'a pipe to nobody must be destroyed'),
    () => {},
  )
  await within(accepting, 'accept() for somebody who left must settle')
  await eventually(() => rig.door.connections === 0, 'the edge must close its connection too, once it has answered')
}

const html = '<!doctype html><title>hello</title>'

function answer(status: string, headers: readonly string[], body: string): (socket: Socket) => void {
  const head = [`HTTP/1.1 ${status}`, `content-length: ${Buffer.byteLength(body)}`, ...headers].join('\r\n')
  return socket => void socket.end(`${head}\r\n\r\n${body}`)
}

const json = 'content-type: application/problem+json'

/** What else listens on port 443. */
const STRANGERS: Readonly<Record<string, (socket: Socket) => void>> = {
  'a web page': answer('200 OK', ['content-type: text/html'], html),
  'a 404 page': answer('404 Not Found', ['content-type: text/html'], html),
  'a proxy’s 502': answer('502 Bad Gateway', ['content-type: text/html'], html),
  'a redirect, which is not followed': answer('302 Found', ['location: /elsewhere'], ''),
  'a handshake half done': socket => void socket.write('HTTP/1.1 101 Switching Protocols\r\n\r\n'),
  'a problem that is none': answer('403 Forbidden', [json], '{}'),
  'a problem that is not JSON': answer('403 Forbidden', [json], '{"code":'),
  'not HTTP': socket => void socket.end('SSH-2.0-OpenSSH_9.2p1\r\n'),
  'random bytes': socket => void socket.end(Buffer.from(Array.from({ length: 500 }, (_, at) => (at * 73) & 255))),
  'headers without end': socket => pour(socket, 'HTTP/1.1 200 OK\r\n', 'x-more: and more\r\n'),
  'a refusal without end': socket =>
    pour(socket, `HTTP/1.1 403 Forbidden\r\n${json}\r\ntransfer-encoding: chunked\r\n\r\n`, '4\r\n    \r\n'),
}

/** Writes for ever, or until the other side has had enough. */
function pour(socket: Socket, first: string, drop: string): void {
  socket.write(first)
  const water = drop.repeat(1000)
  const more = (): void => {
    if (!socket.destroyed) socket.write(water, () => setImmediate(more))
  }
  more()
}

async function meets(rig: TransportRig, speak: (socket: Socket) => void, codes: readonly Code[]): Promise<void> {
  let connections = 0
  const server = net.createServer(socket => {
    connections++
    socket.on('error', () => {})
    socket.once('data', () => speak(socket))
  })
  const sockets = track(server)
  try {
    const edge = new URL(`http://127.0.0.1:${await listen(server)}`)
    const { request, connecting } = rig.request({ edge })
    await rejectsWith(rig.transport.dial(request, rig.call), codes, 'a dial to what is not an edge')
    assert.equal(connections, 1, 'one dial makes one connection')
    await eventually(() => connecting.sockets.every(socket => socket.destroyed), 'its connection must be closed')
  } finally {
    await shut(server, sockets)
  }
}
