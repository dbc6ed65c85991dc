// gRPC by its own library at both ends: what it does with HTTP/2 passes through an HTTP application. Numbers are rows of docs/security.md.
import { readFileSync } from 'node:fs'
import { createServer, type Http2Server, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type ChannelCredentials,
  type ClientDuplexStream,
  credentials,
  loadPackageDefinition,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServiceClientConstructor,
  type ServiceError,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Site, type SiteApplication, startSite } from '../world/site.ts'

const text = {
  requestSerialize: (value: string) => Buffer.from(value),
  requestDeserialize: (bytes: Buffer) => bytes.toString(),
  responseSerialize: (value: string) => Buffer.from(value),
  responseDeserialize: (bytes: Buffer) => bytes.toString(),
}
/** One method each way that gRPC has. */
const ECHO = {
  say: { path: '/echo.Echo/Say', requestStream: false, responseStream: false, ...text },
  talk: { path: '/echo.Echo/Talk', requestStream: true, responseStream: true, ...text },
}
const HOST = 'grpc.localhost'
/** Its service says what it likes on HTTP/2 itself. */
const BARE = 'bare.localhost'
/** Calls on one connection, of a client and the edge; then the edge says GOAWAY. */
const REQUESTS = 6

let server: Server
let bare: BareService
let site: Site
let secured: ChannelCredentials
let token: Record<string, string>
/** Of somebody who is known, and not let in. */
let stranger: Record<string, string>
let calls = 0
/** Calls that wait for their deadline: when that is, as the service was told. */
const waiting: { readonly deadline: unknown; readonly cancelled: Promise<unknown> }[] = []

beforeAll(async () => {
  server = new Server()
  server.addService(ECHO, {
    say: (call: ServerUnaryCall<string, string>, done: sendUnaryData<string>) => {
      const { request, metadata } = call
      calls += 1
      if (request === 'wait') {
        waiting.push({ deadline: call.getDeadline(), cancelled: new Promise(over => call.on('cancelled', over)) })
        return
      }
      if (request === 'no') return done({ code: status.FAILED_PRECONDITION, details: 'not ∞ today' })
      const trailer = new Metadata()
      trailer.set('x-length', String(request.length))
      // The credential stays at the edge; who it is comes with the request.
      const seen = ['postern-client-secret', 'postern-identity'].map(name => metadata.get(name).length)
      return done(null, `${request} ${seen.join(' ')}`, trailer)
    },
    talk: (call: ServerDuplexStream<string, string>) => {
      calls += 1
      call.on('data', (said: string) => void call.write(said.toUpperCase()))
      call.on('end', () => call.end())
    },
  })
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  )
  bare = await startBare()
  const { administration } = (site = await startSite(
    { [HOST]: applicationAt(port), [BARE]: applicationAt(bare.port) },
    { limits: { requests: REQUESTS } },
  )).edge
  const made = await administration.call('service-token.create', { body: { name: 'ci' } })
  token = { 'postern-client-id': made.id, 'postern-client-secret': made.secret }
  const other = await administration.call('service-token.create', { body: { name: 'other' } })
  stranger = { 'postern-client-id': other.id, 'postern-client-secret': other.secret }
  const rules = [{ name: 'ci', action: 'service', include: [{ serviceToken: made.id }] }]
  for (const hostname of [HOST, BARE])
    await administration.call('policy.put', { params: { hostname }, body: { rules } } as never)
  secured = credentials.createSsl(readFileSync(site.caFile))
})
afterAll(async () => {
  await site[Symbol.asyncDispose]()
  server.forceShutdown()
  bare[Symbol.dispose]()
})

function applicationAt(port: number): SiteApplication {
  const service = `http://127.0.0.1:${port}`
  return { service, serviceOptions: { http2: true }, protocols: ['http'], rules: [] }
}

/** Sends back each message as it came, by hand. */
interface BareService extends Disposable {
  readonly port: number
  readonly sessions: readonly ServerHttp2Session[]
  /** That came, over all sessions. */
  readonly pings: number
}

async function startBare(): Promise<BareService> {
  const sessions: ServerHttp2Session[] = []
  let pings = 0
  const server: Http2Server = createServer()
  server.on('session', session => {
    sessions.push(session)
    session.on('ping', () => (pings += 1)).on('error', () => {})
  })
  server.on('stream', (stream: ServerHttp2Stream) => {
    stream.on('error', () => {})
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
    stream.on('data', chunk => stream.write(chunk)).on('end', () => stream.end())
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    sessions,
    get pings() {
      return pings
    },
    [Symbol.dispose]() {
      for (const session of sessions) session.destroy()
      server.close()
    },
  }
}

interface Client {
  say(
    request: string,
    metadata: Metadata,
    options: object,
    done: (error: ServiceError | null, answer: string) => void,
  ): { on(event: 'status', heard: (status: { metadata: Metadata }) => void): void }
  talk(metadata: Metadata): ClientDuplexStream<string, string>
  close(): void
}

function connect(host = HOST, more: object = {}): Client & Disposable {
  const { Echo } = loadPackageDefinition({ Echo: ECHO } as never) as unknown as { Echo: ServiceClientConstructor }
  const named = { 'grpc.default_authority': `${host}:${site.edge.port}`, 'grpc.ssl_target_name_override': host }
  // A pool of its own: connections are not shared with another test’s client.
  const options = { ...named, 'grpc.use_local_subchannel_pool': 1, ...more }
  const client = new Echo(`127.0.0.1:${site.edge.port}`, secured, options) as unknown as Client
  return Object.assign(client, { [Symbol.dispose]: () => client.close() })
}

function metadataOf(headers: Record<string, string>): Metadata {
  const metadata = new Metadata()
  for (const [name, value] of Object.entries(headers)) metadata.set(name, value)
  return metadata
}

async function say(client: Client, what: string, headers = token, deadline = Date.now() + 20_000) {
  const { promise, resolve } = Promise.withResolvers<{ error: ServiceError | null; answer: string }>()
  const call = client.say(what, metadataOf(headers), { deadline }, (error, answer) => resolve({ error, answer }))
  const trailers = new Promise<Metadata>(heard => call.on('status', ({ metadata }) => heard(metadata)))
  return { ...(await promise), trailers: await trailers }
}

describe('gRPC by its own library', () => {
  test('a call, its answer and its trailers; the credential stays at the edge', async () => {
    using client = connect()
    const { error, answer, trailers } = await say(client, 'hello')
    expect(error).toBeNull()
    expect(answer).toBe('hello 0 1')
    expect(trailers.get('x-length')).toEqual(['5'])
  })

  test('the service’s own error comes as it said it', async () => {
    using client = connect()
    const { error } = await say(client, 'no')
    expect(error).toMatchObject({ code: status.FAILED_PRECONDITION, details: 'not ∞ today' })
  })

  test('both speak at the same time, a message at a time, and end when both are done', async () => {
    using client = connect()
    const call = client.talk(metadataOf(token))
    const heard: string[] = []
    const over = new Promise<number>(resolve => call.on('status', ({ code }) => resolve(code)))
    const next = () => new Promise<void>(resolve => call.once('data', () => setImmediate(resolve)))
    call.on('data', (said: string) => heard.push(said))
    for (const word of ['one', 'two', 'x'.repeat(100_000)]) {
      const answered = next()
      call.write(word)
      await answered
    }
    call.end()
    expect(await over).toBe(status.OK)
    expect(heard).toEqual(['ONE', 'TWO', 'X'.repeat(100_000)])
  })

  test('row 79: without a credential UNAUTHENTICATED, and the service hears nothing; with one it does', async () => {
    using client = connect()
    const before = calls
    expect((await say(client, 'hello', {})).error).toMatchObject({
      code: status.UNAUTHENTICATED,
      details: expect.stringMatching(/^LOGIN_REQUIRED: No credential was presented\. Sign in: /),
    })
    expect(calls).toBe(before)
    expect((await say(client, 'hello')).error).toBeNull()
    expect(calls).toBe(before + 1)
  })

  test('row 79: who is known and not let in: PERMISSION_DENIED, in words that can be read', async () => {
    using client = connect()
    const before = calls
    const { error } = await say(client, 'hello', stranger)
    expect(error).toMatchObject({ code: status.PERMISSION_DENIED, details: expect.stringMatching(/^ACCESS_DENIED: /) })
    expect(error?.details).not.toContain('%')
    expect(calls).toBe(before)
  })

  test('row 79: the service is told the deadline, and that the call is over when it has passed', async () => {
    using client = connect()
    const deadline = Date.now() + 1_500
    const { error } = await say(client, 'wait', token, deadline)
    expect(error).toMatchObject({ code: status.DEADLINE_EXCEEDED })
    const [call] = waiting
    // Its own clock, and what was left when the call came: some while later, and not none.
    expect(Number(call?.deadline)).toBeGreaterThan(deadline - 1_500)
    expect(Number(call?.deadline)).toBeLessThan(Date.now() + 1_500)
    await call?.cancelled
  })

  test('row 79: an edge that says GOAWAY finishes what runs, and further calls go on elsewhere', async () => {
    using client = connect()
    const talk = begin(client)
    await talk.says('one')
    for (let count = 0; count < 2 * REQUESTS; count += 1) expect((await say(client, 'hello')).error).toBeNull()
    await talk.says('two')
    expect(await talk.end()).toBe(status.OK)
  })

  test('row 79: so does a service', async () => {
    using client = connect(BARE)
    const talk = begin(client)
    await talk.says('one')
    const count = bare.sessions.length
    bare.sessions.at(-1)?.goaway(0)
    await talk.says('two')
    expect((await say(client, 'hello')).error).toBeNull()
    expect(bare.sessions.length).toBe(count + 1)
    await talk.says('three')
    expect(await talk.end()).toBe(status.OK)
  })

  test('row 79: a service that has enough of pings ends its calls as UNAVAILABLE, and takes the next', async () => {
    using client = connect(BARE)
    const talk = begin(client)
    await talk.says('one')
    bare.sessions.at(-1)?.goaway(11, 0, Buffer.from('too_many_pings'))
    expect(await talk.over).toBe(status.UNAVAILABLE)
    expect((await say(client, 'hello')).error).toBeNull()
  })

  test('row 79: a client’s keepalive is between it and the edge, which has no too_many_pings, and the service none of them', async () => {
    const often = { 'grpc.keepalive_time_ms': 20, 'grpc.keepalive_permit_without_calls': 1 }
    using client = connect(BARE, often)
    const talk = begin(client)
    await talk.says('one')
    const [pings, { sockets }] = [bare.pings, site.edge.counts()]
    await sleep(2_000) // dozens of them, with nothing else said; a server of gRPC’s own takes two
    await talk.says('two')
    expect([bare.pings, site.edge.counts().sockets]).toEqual([pings, sockets])
    expect(await talk.end()).toBe(status.OK)
  })
})

/** A call whose answers come one for each that is said. */
function begin(client: Client) {
  const call = client.talk(metadataOf(token))
  const over = new Promise<number>(resolve => call.on('status', ({ code }) => resolve(code)))
  call.on('error', () => {}) // told by its status
  const says = async (word: string) => {
    const answer = new Promise<string>((resolve, reject) => {
      call.once('data', resolve)
      void over.then(code => reject(new Error(`it was over (${code}) before the answer to ${word}`)))
    })
    call.write(word)
    expect((await answer).toLowerCase()).toBe(word)
  }
  const end = () => {
    call.end()
    return over
  }
  return { says, end, over }
}
