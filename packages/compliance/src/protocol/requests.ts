import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import {
  type Call,
  type OptionSpecs,
  type Options,
  type Plugin,
  PosternError,
  type RequestAnswer,
  type RequestRule,
} from '@postern/interface'
import { type Case, type Framework, register, testCase } from '../case.ts'
import { abortable, eventually, within } from '../expect.ts'
import { fakeOriginHost, HOSTNAME } from '../hosts.ts'
import { listen, shut, track } from '../listening.ts'
import { type MemoryEnd, memoryPair } from '../memory-pair.ts'
import { withDefaults } from '../options.ts'
import type { Outcome } from './client-rig.ts'

export interface ProtocolRequestsKit<O extends OptionSpecs> extends Framework {
  readonly origin: Plugin<'protocol', 'origin', O>
  readonly originOptions?: Partial<Options<O>>
}

/** Every case for a protocol's origin side that serves HTTP requests, each by its ingress rule. */
export function protocolRequestsCases<O extends OptionSpecs>(
  kit: Omit<ProtocolRequestsKit<O>, keyof Framework>,
): readonly Case[] {
  const rigged = (name: string, body: (rig: Rig) => Promise<void>): Case =>
    testCase(name, async call => {
      await using rig = new Rig(call)
      await rig.start(kit)
      await body(rig)
    })
  return [
    rigged('each request is answered by the rule of its path, as the rules are then', async rig => {
      const one = rig.rule()
      rig.at = path => (path === '/status' ? rig.rule(410) : path === '/none' ? undefined : one)
      const { stream } = await rig.open()
      assert.match(await get(stream, '/a?b'), /^HTTP\/1\.1 200 [\s\S]*\/a\?b$/)
      assert.match(await get(stream, '/status'), /^HTTP\/1\.1 410 /)
      assert.match(await get(stream, '/none'), /^HTTP\/1\.1 502 [\s\S]*"INGRESS_NOT_FOUND"/)
      rig.at = () => undefined
      assert.match(await get(stream, '/a'), /^HTTP\/1\.1 502 [\s\S]*"INGRESS_NOT_FOUND"/)
      assert.deepEqual(
        rig.asked,
        ['/a', '/status', '/none', '/a'],
        'at() must be asked once for each request, without its query',
      )
    }),
    rigged('each request is told of once, when it is over', async rig => {
      const one = rig.rule()
      rig.at = path => (path === '/none' ? undefined : one)
      const { stream } = await rig.open()
      for (const path of ['/a', '/b', '/none']) await get(stream, path)
      await eventually(() => rig.answers.length >= 3, 'answered() must be called')
      assert.deepEqual(
        rig.answers.map(({ rule, status, error }) => [rule === one, status, error?.code]),
        [
          [true, 200, undefined],
          [true, 200, undefined],
          [false, 502, 'INGRESS_NOT_FOUND'],
        ],
      )
    }),
    rigged('a service that cannot be reached is told by its code, never by its address', async rig => {
      for (const code of ['ORIGIN_REFUSED', 'ORIGIN_NOT_RESOLVED', 'ORIGIN_TIMEOUT', 'ORIGIN_UNREACHABLE'] as const) {
        const failing = () => Promise.reject(new PosternError(code, 'at 10.0.0.7', { speaker: 'daemon' }))
        rig.at = () => ({ ...rig.rule(), dial: failing })
        const answer = await get((await rig.open()).stream, '/')
        assert.match(answer, new RegExp(`^HTTP/1\\.1 50[24] [\\s\\S]*postern-problem: .*"${code}"`))
        assert.doesNotMatch(answer, /10\.0\.0\.7/)
      }
    }),
    rigged('a rule that goes cuts the answer it carries, and the next request is asked for anew', async rig => {
      const end = new AbortController()
      rig.at = () => ({ ...rig.rule(), signal: end.signal })
      const { stream } = await rig.open()
      stream.write(`GET /begin HTTP/1.1\r\nHost: ${HOSTNAME}\r\n\r\n`)
      await once(stream, 'data')
      const cut = new Promise<boolean>(resolve => {
        stream.once('end', () => resolve(false)).once('close', () => resolve(true))
      })
      stream.resume()
      end.abort(new PosternError('INGRESS_NOT_FOUND', 'the kit takes the rule away', { speaker: 'daemon' }))
      assert.ok(await within(cut, 'the answer must be cut'), 'half of an answer must not end as a whole one does')
    }),
    rigged('resolves when the edge ends the stream', async rig => {
      const { stream, outcome } = await rig.open()
      await get(stream, '/')
      stream.resume().end()
      assert.deepEqual(await within(outcome, 'serveRequests() must be over'), { resolved: true })
    }),
    rigged('abort ends it: rejects with signal.reason, and the stream is cut', async rig => {
      const { stream, outcome } = await rig.open()
      stream.write(`GET /begin HTTP/1.1\r\nHost: ${HOSTNAME}\r\n\r\n`)
      await once(stream, 'data')
      const reason = new Error('the kit aborts')
      rig.abort(reason)
      assert.deepEqual(await within(outcome, 'serveRequests() must be over'), { resolved: false, error: reason })
      await eventually(() => stream.destroyed, 'the stream must be cut')
    }),
    rigged('when it is disposed, nothing is connected any more', async rig => {
      const { stream } = await rig.open()
      await get(stream, '/')
      await rig.dispose()
      await eventually(() => rig.connections === 0, 'the service’s connections must be closed')
    }),
  ]
}

/**
 * Registers {@link protocolRequestsCases} with a test framework.
 *
 * @example
 * protocolRequestsCompliance({ describe, it, origin })
 */
export function protocolRequestsCompliance<O extends OptionSpecs>(kit: ProtocolRequestsKit<O>): void {
  register(kit, `protocol ${kit.origin.name} (requests) keeps its contract`, protocolRequestsCases(kit))
}

/** A daemon with one hostname, and a service that says the target of each request; of `/begin` it says the beginning only. */
class Rig implements AsyncDisposable {
  at: (path: string) => RequestRule | undefined = () => this.rule()
  readonly asked: string[] = []
  readonly answers: RequestAnswer[] = []
  readonly abort: (reason: unknown) => void
  readonly #call: Call
  readonly #service: Server = createServer((request, response) => {
    if (request.url === '/begin') response.write('half')
    else response.end(request.url)
  })
  readonly #sockets: Set<Socket> = track(this.#service)
  readonly #streams: MemoryEnd[] = []
  #plugin: Awaited<ReturnType<Plugin<'protocol', 'origin'>['create']>> | undefined
  #rule: RequestRule | undefined

  constructor(call: Call) {
    const own = abortable(call)
    this.#call = own.call
    this.abort = own.abort
  }

  get connections(): number {
    return this.#sockets.size
  }

  async start<O extends OptionSpecs>(kit: Omit<ProtocolRequestsKit<O>, keyof Framework>): Promise<void> {
    await listen(this.#service)
    this.#plugin = await kit.origin.create(withDefaults(kit.origin.options, kit.originOptions), fakeOriginHost())
  }

  /** The rule of the service, always the same object; or of a status. */
  rule(status?: number): RequestRule {
    const { port } = this.#service.address() as AddressInfo
    const dial = async (): Promise<Socket> => {
      const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
      socket.on('error', () => {})
      await once(socket, 'connect')
      return socket
    }
    const made = (service: URL | number): RequestRule => ({
      service,
      options: {},
      signal: new AbortController().signal,
      dial,
    })
    if (status !== undefined) return made(status)
    this.#rule ??= made(new URL(`http://localhost:${port}`))
    return this.#rule
  }

  async open(): Promise<{ readonly stream: MemoryEnd; readonly outcome: Promise<Outcome> }> {
    const [ours, stream] = memoryPair()
    this.#streams.push(ours, stream)
    for (const one of [ours, stream]) one.on('error', () => {})
    assert.ok(this.#plugin?.serveRequests, 'serveRequests() is missing')
    const at = (path: string): RequestRule | undefined => {
      this.asked.push(path)
      return this.at(path)
    }
    const answered = (answer: RequestAnswer): void => void this.answers.push(answer)
    const serving = this.#plugin.serveRequests({ accept: () => ours }, { hostname: HOSTNAME, at, answered }, this.#call)
    const outcome = serving.then(
      () => ({ resolved: true as const }),
      (error: unknown) => {
        ours.destroy(error instanceof Error ? error : new Error(String(error))) // as a host does
        return { resolved: false as const, error }
      },
    )
    return { stream, outcome }
  }

  async dispose(): Promise<void> {
    await this.#plugin?.[Symbol.asyncDispose]?.()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.abort(new Error('the case is over'))
    for (const stream of this.#streams) stream.destroy()
    await this.dispose()
    await shut(this.#service, this.#sockets)
  }
}

/** The whole answer, which has a length. */
function get(stream: MemoryEnd, target: string): Promise<string> {
  stream.write(`GET ${target} HTTP/1.1\r\nHost: ${HOSTNAME}\r\n\r\n`)
  let text = ''
  const answer = new Promise<string>((resolve, reject) => {
    const onClose = (): void => reject(new Error(`the stream ended after ${JSON.stringify(text)}`))
    const onData = (chunk: Buffer): void => {
      text += chunk
      const [head = '', body] = text.split('\r\n\r\n')
      if (body?.length !== Number(/content-length: (\d+)/i.exec(head)?.[1])) return
      stream.off('data', onData).off('close', onClose)
      resolve(text)
    }
    stream.on('data', onData).on('close', onClose)
  })
  return within(answer, `the answer for ${target}`)
}
