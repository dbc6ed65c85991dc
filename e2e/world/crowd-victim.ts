// Who wants a little, again and again: a message sent and got back over a stream that stays, then over a new one.
import { randomBytes } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { createApplicationClient } from '@postern/client'
import type { Call } from '@postern/interface'
import { type Who, work } from './crowd.ts'
import { tokenOf, transport, trustOf } from './crowd-visitor.ts'
import { quiet } from './lab.ts'

export interface VictimAsked {
  readonly who: Who
  /** Of either kind. */
  readonly requests: number
}

/** Milliseconds each request took, sorted; those whose answer was not what was sent are an error. */
export interface VictimTold {
  readonly warm: readonly number[]
  readonly opened: readonly number[]
}

const SIZE = 64

async function echoed(stream: Duplex): Promise<void> {
  const message = Buffer.concat([Buffer.from('E'), randomBytes(SIZE - 1)])
  stream.write(message)
  let heard = Buffer.alloc(0)
  while (heard.length < SIZE) heard = Buffer.concat([heard, await next(stream)])
  if (!heard.equals(message)) throw new Error('the answer is not what was sent')
}

function next(stream: Duplex): Promise<Buffer> {
  const chunk: Buffer | null = stream.read()
  if (chunk !== null) return Promise.resolve(chunk)
  return new Promise((resolve, reject) => {
    const settle = (then: () => void) => {
      for (const name of ['readable', 'end', 'error', 'close']) stream.off(name, heard)
      then()
    }
    const heard = (error?: unknown) => {
      const some: Buffer | null = stream.destroyed ? null : stream.read()
      if (some !== null) settle(() => resolve(some))
      else if (stream.destroyed || stream.readableEnded)
        settle(() => reject(error ?? stream.errored ?? new Error('it ended before the answer')))
    }
    for (const name of ['readable', 'end', 'error', 'close']) stream.on(name, heard)
  })
}

let kept:
  | { readonly who: Who; readonly client: ReturnType<typeof createApplicationClient>; readonly stream: Duplex }
  | undefined

async function streamOf(who: Who): Promise<{ client: ReturnType<typeof createApplicationClient>; stream: Duplex }> {
  if (kept?.who.mode === who.mode && !kept.stream.destroyed) return kept
  await kept?.client[Symbol.asyncDispose]()
  const client = createApplicationClient({
    hostname: `${who.hostname}:${who.port}`,
    auth: [tokenOf(who)],
    transports: [{ name: 'websocket', transport: await transport() }],
    trust: trustOf(who),
    ...(who.mode === 'end-to-end' && { endToEnd: { required: true } }),
  })
  kept = { who, client, stream: await client.open(call()) }
  return kept
}

const call = (): Call => ({ signal: AbortSignal.timeout(60_000), log: quiet })

work<VictimAsked, VictimTold>(async ({ who, requests }) => {
  const { client, stream } = await streamOf(who)
  const [warm, opened]: [number[], number[]] = [[], []]
  for (let n = 0; n < requests; n++) {
    let began = performance.now()
    await echoed(stream)
    warm.push(performance.now() - began)
    began = performance.now()
    const one = await client.open(call())
    await echoed(one)
    opened.push(performance.now() - began)
    one.end()
    if ((await one.toArray()).length > 0) throw new Error('more came back than was sent')
  }
  return { warm, opened }
})
