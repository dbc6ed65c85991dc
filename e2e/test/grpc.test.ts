// gRPC by its own library at both ends: what it does with HTTP/2 passes through an HTTP application. Numbers are rows of docs/security.md.
import { readFileSync } from 'node:fs'
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
import { type Site, startSite } from '../world/site.ts'

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

let server: Server
let site: Site
let secured: ChannelCredentials
let token: Record<string, string>
let calls = 0

beforeAll(async () => {
  server = new Server()
  server.addService(ECHO, {
    say: ({ request, metadata }: ServerUnaryCall<string, string>, done: sendUnaryData<string>) => {
      calls += 1
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
  site = await startSite({
    [HOST]: {
      service: `http://127.0.0.1:${port}`,
      serviceOptions: { http2: true },
      protocols: ['http'],
      rules: [{ name: 'machines', action: 'service', include: [{ anyServiceToken: true }] }],
    },
  })
  const made = await site.edge.administration.call('service-token.create', { body: { name: 'ci' } })
  token = { 'postern-client-id': made.id, 'postern-client-secret': made.secret }
  secured = credentials.createSsl(readFileSync(site.caFile))
})
afterAll(async () => {
  await site[Symbol.asyncDispose]()
  server.forceShutdown()
})

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

function connect(): Client & Disposable {
  const { Echo } = loadPackageDefinition({ Echo: ECHO } as never) as unknown as { Echo: ServiceClientConstructor }
  const options = { 'grpc.default_authority': `${HOST}:${site.edge.port}`, 'grpc.ssl_target_name_override': HOST }
  const client = new Echo(`127.0.0.1:${site.edge.port}`, secured, options) as unknown as Client
  return Object.assign(client, { [Symbol.dispose]: () => client.close() })
}

function metadataOf(headers: Record<string, string>): Metadata {
  const metadata = new Metadata()
  for (const [name, value] of Object.entries(headers)) metadata.set(name, value)
  return metadata
}

async function say(client: Client, what: string, headers = token) {
  const { promise, resolve } = Promise.withResolvers<{ error: ServiceError | null; answer: string }>()
  const deadline = Date.now() + 20_000
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
    expect((await say(client, 'hello', {})).error).toMatchObject({ code: status.UNAUTHENTICATED })
    expect(calls).toBe(before)
    expect((await say(client, 'hello')).error).toBeNull()
    expect(calls).toBe(before + 1)
  })
})
