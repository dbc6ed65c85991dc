// Who is let in, and wants all there is: frames by hand, as fast as they go, without any manners.
import { randomUUID, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { keyFingerprint } from '@postern/end-to-end'
import { makeSessionKey } from '@postern/end-to-end/session-key'
import { secureAsClient } from '@postern/end-to-end/tls'
import type { Call, Dialled } from '@postern/interface'
import { DATA, dialTls, framed, PING, RST, SYN, WINDOW, yamux } from './attacker.ts'
import { givesWay, type Who, work } from './crowd.ts'
import { headersOf, transport } from './crowd-visitor.ts'
import { quiet } from './lab.ts'

/**
 * `resets`: streams opened and reset at once. `flood`: streams opened and kept, more than anybody may have. `stalled`: downloads that
 * nobody reads, and a session that nobody reads. `bulk`: one download as fast as it goes. `sessions`: sessions begun and left.
 * `burn`: nothing but this process's own CPU, the same share of it as an attack took.
 */
export type Attack = 'resets' | 'flood' | 'stalled' | 'bulk' | 'sessions' | 'burn'

export type AttackerAsked =
  | {
      readonly begin: Attack
      readonly who: Who /** Of a core, for `burn`. */
      readonly share?: number /** In each of two sessions, for `stalled`: 1 to 256, default 256. */
      readonly streams?: number
    }
  | { readonly end: true }

/** What it got up to between `begin` and `end`. */
export interface AttackerTold {
  readonly opened: number
  /** Streams that were answered by RST or by a refusal. */
  readonly refused: number
  /** By code, where the other end said one. */
  readonly codes: Readonly<Record<string, number>>
  readonly sessions: number
  /** Sessions and pipes that the other end ended or refused. */
  readonly ended: number
  readonly bytes: number
  /** Of a core. */
  readonly share: number
}

const told = { opened: 0, refused: 0, sessions: 0, ended: 0, bytes: 0, codes: {} as Record<string, number> }
/** Streams opened in one write. */
const BATCH = 64
const WIDE = 1024 * 1024
/** Streams that one user wants at once. */
const WANTED = 5000

let unread = 0
let stop = new AbortController()
let over: Promise<unknown> = Promise.resolve()
let began = { cpu: process.cpuUsage(), at: performance.now() }

givesWay()
work<AttackerAsked, AttackerTold | { begun: true }>(async asked => {
  if ('end' in asked) {
    stop.abort(new Error('enough'))
    await over.catch(() => {})
    const { user, system } = process.cpuUsage(began.cpu)
    return { ...told, share: (user + system) / 1000 / (performance.now() - began.at) }
  }
  stop = new AbortController()
  Object.assign(told, { opened: 0, refused: 0, sessions: 0, ended: 0, bytes: 0, codes: {} })
  began = { cpu: process.cpuUsage(), at: performance.now() }
  const { begin, who, share = 0, streams = 256 } = asked
  unread = streams
  over = begin === 'burn' ? burn(share) : again(begin, who)
  // It is at it when the victim begins.
  await new Promise(resolve => setTimeout(resolve, 500))
  return { begun: true }
})

/** Whoever is thrown out comes again. */
async function again(attack: Exclude<Attack, 'burn'>, who: Who): Promise<void> {
  const runs = attack === 'flood' ? Math.ceil(WANTED / 1000) : attack === 'stalled' ? 2 : 1
  await Promise.all(
    Array.from({ length: runs }, async (_, run) => {
      while (!stop.signal.aborted) {
        await visit(attack, who, run).catch((error: unknown) => {
          if (stop.signal.aborted) return
          told.ended += 1
          const { code } = error as { code?: string }
          if (code) told.codes[code] = (told.codes[code] ?? 0) + 1
        })
        await pause(1)
      }
    }),
  )
}

async function visit(attack: Exclude<Attack, 'burn'>, who: Who, run: number): Promise<void> {
  const { pipe, hello } = await sessionOf(who)
  told.sessions += 1
  pipe.on('error', () => {})
  const gone = new AbortController()
  pipe.once('close', () => gone.abort(new Error('the session was ended')))
  pipe.once('end', () => gone.abort(new Error('the session was ended')))
  const signal = AbortSignal.any([stop.signal, gone.signal])
  try {
    pipe.write(hello)
    if (attack === 'sessions') return void pipe.on('data', () => {})
    const reader = new Reader(pipe, attack === 'bulk')
    if (attack === 'stalled') {
      await stalled(pipe, who, signal)
      if (run === 1) reader.stop()
      await aborted(signal)
    } else if (attack === 'bulk') {
      pipe.write(Buffer.concat([opening(3, who, 'D'), yamux(WINDOW, 0, 3, '', WIDE)]))
      told.opened += 1
      await aborted(signal)
    } else await opens(attack, pipe, who, signal)
    signal.throwIfAborted()
  } finally {
    pipe.destroy()
  }
}

/** Streams without end; of a flood none is ever closed. */
async function opens(attack: 'resets' | 'flood', pipe: Duplex, who: Who, signal: AbortSignal): Promise<void> {
  for (let id = 3; !signal.aborted; ) {
    const frames: Buffer[] = []
    for (let n = 0; n < BATCH; n++, id += 2) {
      frames.push(opening(id, who, 'E'))
      if (attack === 'resets') frames.push(yamux(WINDOW, RST, id))
    }
    told.opened += BATCH
    const room = pipe.write(Buffer.concat(frames))
    if (!room) await once(pipe, 'drain', { signal })
    else await pause(0)
  }
}

async function stalled(pipe: Duplex, who: Who, signal: AbortSignal): Promise<void> {
  const batch = Math.min(BATCH, unread)
  for (let id = 3; id < 3 + 2 * unread; id += 2 * batch) {
    pipe.write(Buffer.concat(Array.from({ length: batch }, (_, n) => opening(id + 2 * n, who, 'S'))))
    told.opened += batch
    await pause(100)
    signal.throwIfAborted()
  }
  await pause(1000)
}

function opening(id: number, { hostname }: Who, first: string): Buffer {
  const header = framed({ v: 1, hostname, requestId: randomUUID(), purpose: 'tcp' })
  return yamux(DATA, SYN, id, Buffer.concat([header, Buffer.from(first)]))
}

async function sessionOf(who: Who): Promise<{ readonly pipe: Duplex; readonly hello: Buffer }> {
  const call: Call = { signal: AbortSignal.timeout(30_000), log: quiet }
  const key = who.mode === 'end-to-end' ? await makeSessionKey() : undefined
  const dialled = await (await transport()).dial(
    {
      edge: new URL(`https://127.0.0.1:${who.port}`),
      host: who.hostname,
      purpose: key ? 'join' : 'session',
      headers: key ? { 'postern-key': key.fingerprint } : {},
      credential: { headers: headersOf(who) },
      connect: () => dialTls(who, who.hostname),
      ca: [],
    },
    call,
  )
  if (key === undefined) return { pipe: dialled.pipe, hello: helloOf({}) }
  const { grant, want } = joinedBy(dialled)
  return { pipe: await secureAsClient(dialled.pipe, want, key, call), hello: helloOf({ grant }) }
}

function helloOf(about: object): Buffer {
  return yamux(DATA, SYN, 1, `${JSON.stringify({ v: 1, type: 'hello', about })}\n`)
}

/** What an honest client takes from the edge's answer. */
function joinedBy({ answer, pipe }: Dialled) {
  const grant = answer['postern-grant']?.[0]
  if (grant === undefined) {
    pipe.destroy()
    throw Object.assign(new Error('not joined'), { code: 'NOT_JOINED' })
  }
  const identity = new X509Certificate(Buffer.from(answer['postern-tunnel-identity']?.[0] ?? '', 'base64'))
  const { aud } = JSON.parse(Buffer.from(grant.split('.')[1] ?? '', 'base64url').toString()) as { aud: string }
  const [, , tunnel = '', connector = ''] = aud.split(':')
  return { grant, want: { identity: identity.toString(), pin: keyFingerprint(identity.publicKey), tunnel, connector } }
}

/** Reads frames and keeps nothing of them. With `grants`, whatever came is given back as window. */
class Reader {
  readonly #pipe: Duplex
  readonly #grants: boolean
  #head: Buffer = Buffer.alloc(0)
  #left = 0
  #id = 0
  /** The beginning of what came on a stream: its answer. */
  #answer = Buffer.alloc(0)

  constructor(pipe: Duplex, grants: boolean) {
    this.#pipe = pipe
    this.#grants = grants
    pipe.on('data', this.#onData)
  }

  stop(): void {
    this.#pipe.off('data', this.#onData).pause()
  }

  readonly #onData = (chunk: Buffer): void => {
    told.bytes += chunk.length
    let at = 0
    while (at < chunk.length) {
      if (this.#left > 0) {
        const part = chunk.subarray(at, at + this.#left)
        at += part.length
        this.#left -= part.length
        this.#payload(part)
        continue
      }
      const more = chunk.subarray(at, at + 12 - this.#head.length)
      at += more.length
      this.#head = this.#head.length === 0 ? more : Buffer.concat([this.#head, more])
      if (this.#head.length === 12) this.#frame(this.#head)
    }
  }

  #frame(head: Buffer): void {
    this.#head = Buffer.alloc(0)
    const [type, flags, length] = [head[1], head.readUInt16BE(2), head.readUInt32BE(8)]
    this.#id = head.readUInt32BE(4)
    if ((flags & RST) !== 0) told.refused += 1
    if (type === PING && (flags & SYN) !== 0) this.#pipe.write(yamux(PING, 2, 0, '', length))
    if (type !== DATA) return
    this.#left = length
    this.#answer = Buffer.alloc(0)
    if (this.#grants && length > 0 && this.#id !== 1) this.#pipe.write(yamux(WINDOW, 0, this.#id, '', length))
  }

  #payload(part: Buffer): void {
    if (this.#id === 1 || part.length > 4096) return
    if (this.#answer.length > 4096) return
    this.#answer = Buffer.concat([this.#answer, part])
    if (this.#left > 0) return
    const code = /"code":"([A-Z_]+)"/.exec(this.#answer.toString('latin1'))?.[1]
    if (code === undefined) return
    told.refused += 1
    told.codes[code] = (told.codes[code] ?? 0) + 1
  }
}

/** Takes its share of a core, ten milliseconds at a time. */
async function burn(share: number): Promise<void> {
  while (!stop.signal.aborted) {
    const until = performance.now() + 10 * share
    while (performance.now() < until);
    await pause(Math.max(0, 10 * (1 - share)))
  }
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, 'abort')
}

function pause(ms: number): Promise<void> {
  return new Promise(resolve => (ms === 0 ? setImmediate(resolve) : setTimeout(resolve, ms)))
}
