import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { type ClientDuplexStream, Metadata, Server, ServerCredentials, type ServiceError, status } from '@grpc/grpc-js'
import { problem } from '@postern/interface'
import { describe, expect, test } from 'vitest'
import { dial } from '../src/dial.ts'
import { headOf, LAST_MESSAGE, MessageReader } from '../src/messages.ts'
import { METHODS, PROBLEM, pathOf, SERVICE, STATUS } from '../src/wire.ts'
import { type Bytes, call, definition, dialRequest, foreignClient, message, service, startEdge } from './world.ts'

describe('pipe.proto says what the code does', () => {
  test('one service with a method for each purpose, streams both ways', () => {
    expect(
      Object.keys(definition)
        .filter(name => name.startsWith('postern.'))
        .sort(),
    ).toEqual(['postern.transport.v1.Bytes', SERVICE])
    expect(Object.keys(service).sort()).toEqual(Object.values(METHODS).sort())
    for (const purpose of ['session', 'connector', 'join'] as const)
      expect(service[METHODS[purpose]]).toMatchObject({
        path: pathOf(purpose),
        requestStream: true,
        responseStream: true,
      })
  })

  test.each([0, 1, 127, 128, 4096, 16_383, 16_384, 65_536, 1_000_000])(
    '%i bytes are the same to protobuf.js',
    length => {
      const data = Buffer.alloc(length, 5)
      const ours = Buffer.concat([headOf(length), data])
      expect(service.Session!.requestDeserialize(ours.subarray(5))).toEqual({ data })
      if (length > 0) expect(message({ data }).equals(ours)).toBe(true)
      const read: Buffer[] = []
      const reader = new MessageReader(bytes => read.push(bytes))
      reader.read(message({ data }))
      expect(Buffer.concat(read).equals(data)).toBe(true)
      expect([reader.isBetween, reader.ended]).toEqual([true, false])
    },
  )

  test('so is the last message', () => {
    expect(message({ end: true })).toEqual(LAST_MESSAGE)
    const reader = new MessageReader(() => {})
    reader.read(message({ end: true }))
    expect(reader.ended).toBe(true)
    const other = new MessageReader(() => {})
    other.read(message({ end: false, data: Buffer.from('x') }))
    expect(other.ended).toBe(false)
  })

  test('the statuses are those of gRPC', () => {
    for (const [name, number] of Object.entries(STATUS)) expect(status[name as keyof typeof status]).toBe(number)
  })
})

type Foreign = ClientDuplexStream<Bytes, Bytes>

describe('grpc-js as the client', () => {
  const begin = (
    port: number,
    metadata = new Metadata(),
  ): { client: ReturnType<typeof foreignClient>; its: Foreign } => {
    const client = foreignClient(port)
    const its = client.Session!(metadata) as unknown as Foreign
    return { client, its }
  }

  test('bytes both ways, and a clean end', async () => {
    await using edge = await startEdge()
    const { client, its } = begin(edge.port)
    const [head] = (await once(its, 'metadata')) as [Metadata]
    expect(head).toBeDefined()
    const [pipe] = edge.pipes
    const sum = createHash('sha256')
    const sent = createHash('sha256')
    pipe!.on('data', bytes => sum.update(bytes))
    for (let at = 0; at < 200; at++) {
      const data = Buffer.alloc(10_000, at)
      sent.update(data)
      if (!its.write({ data })) await once(its, 'drain')
    }
    its.write({ end: true })
    its.end()
    await once(pipe!, 'end')
    expect(sum.digest('hex')).toBe(sent.digest('hex'))
    const over = once(its, 'status')
    its.resume()
    expect((await over)[0]).toMatchObject({ code: status.OK })
    client.close()
  })

  test('what the edge writes, then its clean end', async () => {
    await using edge = await startEdge()
    const { client, its } = begin(edge.port)
    await once(its, 'metadata')
    const over = once(its, 'status')
    edge.pipes[0]!.end(Buffer.alloc(300_000, 3))
    let length = 0
    for await (const { data } of its as AsyncIterable<Bytes>) length += data?.length ?? 0
    expect([length, (await over)[0].code]).toEqual([300_000, status.OK])
    client.close()
  })

  test.each([
    ['cancels', (its: Foreign) => its.cancel()],
    ['ends without a last message', (its: Foreign) => its.end()],
  ])('who %s cut the pipe', async (_, leave) => {
    await using edge = await startEdge()
    const { client, its } = begin(edge.port)
    its.on('error', () => {}).resume()
    await once(its, 'metadata')
    const [pipe] = edge.pipes
    const ended = new Promise(resolve => pipe!.on('end', () => resolve('end')).on('error', resolve))
    pipe!.resume()
    its.write({ data: Buffer.from('some') })
    leave(its)
    expect(await ended).toMatchObject({ code: 'STREAM_CUT' })
    client.close()
  })

  test('a deadline cuts, and a refusal is a status with words and the problem whole', async () => {
    const refusal = problem('LOGIN_REQUIRED', 'r-9', { speaker: 'edge', detail: 'ünknown, 100%' })
    await using edge = await startEdge(async incoming => incoming.reject(refusal, { 'www-authenticate': 'Negotiate' }))
    const { client, its } = begin(edge.port)
    const error = (await once(its, 'error').catch(thrown => [thrown]))[0] as ServiceError
    expect(error.code).toBe(status.UNAUTHENTICATED)
    expect(error.details).toBe('LOGIN_REQUIRED: ünknown, 100%')
    expect(JSON.parse(String(error.metadata.get(PROBLEM)[0]))).toEqual(refusal)
    client.close()

    await using slow = await startEdge()
    const other = foreignClient(slow.port)
    const late = other.Session!(new Metadata(), { deadline: Date.now() + 200 }) as unknown as Foreign
    await once(late, 'metadata')
    const cut = once(slow.pipes[0]!.resume(), 'error').catch(thrown => [thrown])
    const [timedOut] = (await once(late.resume(), 'error').catch(thrown => [thrown])) as [ServiceError]
    expect(timedOut.code).toBe(status.DEADLINE_EXCEEDED)
    expect((await cut)[0]).toMatchObject({ code: 'STREAM_CUT' })
    other.close()
  })
})

describe('grpc-js as the server', () => {
  test('bytes come back, and each end is told from a cut', async () => {
    const server = new Server()
    const echo = (stream: Foreign & { sendMetadata(metadata: Metadata): void }) => {
      stream.sendMetadata(new Metadata())
      stream.on('data', ({ data, end }: Bytes) => {
        if (data && String(data) === 'fail') stream.emit('error', { code: status.ABORTED, details: 'told to' })
        else if (data) stream.write({ data })
        if (end) stream.end()
      })
    }
    server.addService(service, { Session: echo } as never)
    const port = await new Promise<number>((resolve, reject) => {
      const bound = (error: Error | null, on: number) => (error ? reject(error) : resolve(on))
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), bound)
    })
    const good = (await dial(dialRequest(port), call())).pipe
    good.end(Buffer.alloc(200_000, 9))
    let length = 0
    for await (const bytes of good) length += bytes.length
    expect(length).toBe(200_000)
    const bad = (await dial(dialRequest(port), call())).pipe
    const cut = once(bad.resume(), 'error').catch(thrown => [thrown])
    bad.write('fail')
    expect((await cut)[0]).toMatchObject({ code: 'STREAM_CUT', message: expect.stringContaining('status 10') })
    // A method that the server has not: not an edge.
    await expect(dial(dialRequest(port, { purpose: 'join' }), call())).rejects.toMatchObject({ code: 'EDGE_PROTOCOL' })
    server.forceShutdown()
  })
})
