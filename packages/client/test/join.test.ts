import type { Duplex } from 'node:stream'
import { type Call, PosternError, problem, type Transport } from '@postern/interface'
import { leftOpen, type MemoryEdge, memoryEdge, recordingLog, resources } from '@postern/testkit'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type ApplicationClient, createApplicationClient, type EndToEnd } from '../src/index.ts'

const log = recordingLog()
const call: Call = { signal: AbortSignal.timeout(60_000), log }
const PIN = `sha256:${'1'.repeat(64)}`
const pinned = (pin: string | undefined) => ({ get: async () => pin, keep: async () => {} })

let before = resources()
let edge: MemoryEdge
const clients: ApplicationClient[] = []
beforeEach(async () => {
  before = resources()
  edge = await memoryEdge(log)
})
afterEach(async () => {
  for (const client of clients.splice(0)) await client[Symbol.asyncDispose]()
  await edge[Symbol.asyncDispose]()
  expect(await leftOpen(before)).toEqual([])
})

/** What an edge answers that knows no joins: its transports do so for every version that they do not speak. */
const older: Transport = {
  dial: async (request, inner) => {
    if (request.purpose !== 'join') return edge.transport.dial(request, inner)
    const detail = 'this edge does not speak postern-join-1'
    const said = problem('VERSION_UNSUPPORTED', 'r-1', { speaker: 'edge', detail })
    throw PosternError.fromProblem(said, { refusal: { status: 426, headers: {} } })
  },
}

function client(endToEnd: EndToEnd): ApplicationClient {
  const auth = [{ authenticate: async () => ({}) }]
  const transports = [{ name: 'memory', transport: older }]
  const made = createApplicationClient({ hostname: 'db.example.com', auth, transports, endToEnd })
  clients.push(made)
  return made
}

async function echoed(stream: Duplex, text: string): Promise<string> {
  stream.end(text)
  let back = ''
  for await (const chunk of stream) back += chunk
  return back
}

describe('an edge that is older than end-to-end sessions', () => {
  it('serves whoever does not insist, through itself', async () => {
    expect(await echoed(await client({}).open(call), 'hello')).toBe('hello')
    expect(await echoed(await client({ pins: pinned(undefined) }).open(call), 'again')).toBe('again')
    expect(edge.arrivals.map(({ purpose }) => purpose)).toEqual(['session', 'session'])
  })

  it.each<[string, EndToEnd, RegExp, RegExp]>([
    ['asks for it', { required: true }, /end-to-end was asked for/, /Update the edge.*--end-to-end/],
    ['names a key', { pin: PIN }, /end-to-end was asked for/, /--pin/],
    ['has it pinned', { pins: pinned(PIN) }, /is pinned here \(sha256:1+\)/, /administrator.*--forget/],
  ])('serves nobody who %s', async (_who, endToEnd, message, next) => {
    const failed = client(endToEnd).connect(call)
    await expect(failed).rejects.toMatchObject({
      code: 'MODE_FORBIDDEN',
      message: expect.stringMatching(message),
      next: expect.stringMatching(next),
      cause: { code: 'VERSION_UNSUPPORTED' },
    })
    expect(edge.arrivals).toEqual([])
  })
})
