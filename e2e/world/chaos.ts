import type { Duplex } from 'node:stream'
import { setTimeout as wait } from 'node:timers/promises'
import type { ApplicationClient } from '@postern/client'
import { Random } from '@postern/compliance/random'
import { judge, Party, turns } from '@postern/compliance/schedules'
import { PosternError } from '@postern/interface'
import { cut } from '@postern/tunnel'
import { CLEAR, type Deed, type Mishap, type Weather } from './chaos-network.ts'
import { type ChaosSite, CONNECTIONS } from './chaos-site.ts'
import { quiet } from './lab.ts'

/** Milliseconds without a byte, an end or a close after which something hangs: a dead peer is noticed in fifteen seconds, at either end. */
const PATIENCE = 40_000
/** Names the probe after a mishap: no connection of a schedule. */
const PROBE = 0xffff_ffff

/** What happened in a schedule, or in many. */
export interface Tally {
  schedules: number
  connections: number
  clean: number
  cut: number
  /** Refused, or given up while they were opened. */
  unopened: number
  bytes: number
  mishaps: number
  drains: number
}

export function emptyTally(): Tally {
  return { schedules: 0, connections: 0, clean: 0, cut: 0, unopened: 0, bytes: 0, mishaps: 0, drains: 0 }
}

/** What befalls a schedule besides the weather, and how likely that is. */
const FATES = {
  none: 0.5,
  client: 0.2,
  daemon: 0.15,
  refusals: 0.1,
  drain: 0.04,
  silence: 0.01,
} as const
type Fate = keyof typeof FATES

/**
 * One client, dozens of connections at once, a bad network, and what else may befall them. Throws, with the seed, where anything is
 * lost, invented, out of order, taken for an end, cut without a cause, left over, or hangs.
 *
 * @returns whether the site can be used again: its edge was not stopped
 */
export async function runSchedule(site: ChaosSite, seed: number, tally: Tally): Promise<boolean> {
  const schedule = new Schedule(site, seed)
  try {
    await schedule.run(tally)
    return !schedule.isStopped
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    throw new Error(`schedule with seed ${seed} (${schedule.fate}): ${message}`, { cause: error })
  }
}

class Schedule {
  readonly fate: Fate
  isStopped = false
  readonly #site: ChaosSite
  readonly #random: Random
  readonly #rudeness: number
  readonly #maxBytes: number
  readonly #seeds: number
  readonly #client: ApplicationClient
  readonly #signal = new AbortController()
  readonly #near = new Map<number, Party>()
  readonly #far = new Map<number, Party>()
  /** Opening them failed, for a cause that the schedule knows. */
  readonly #unopened = new Set<number>()
  #isExcused = false
  #wasRefusing = false

  constructor(site: ChaosSite, seed: number) {
    this.#site = site
    this.#random = new Random(seed)
    this.fate = pick(this.#random.next())
    this.#rudeness = this.#random.pick([0, 0.1, 0.3])
    this.#maxBytes = this.#random.pick([10_000, 200_000, 1_500_000])
    this.#seeds = this.#random.below(2 ** 31)
    this.#client = site.client()
    site.origin.serve = (socket, id) => void this.#far.set(id, this.#party(socket, id, false))
  }

  async run(tally: Tally): Promise<void> {
    const count = this.#random.pick([1, 2, 4, 4, 8, 8, 15, 60])
    const { client, daemon } = this.#site.networks
    this.#weather(count)
    const fate = this.#befall()
    await Promise.all(Array.from({ length: count }, (_, id) => this.#connect(id, this.#random.fork())))
    await fate
    await this.#over()
    const mishap = [client, daemon].map(network => network.clear()).includes(true)
    this.#isExcused ||= mishap
    tally.schedules += 1
    tally.mishaps += Number(mishap)
    tally.drains += Number(this.isStopped)
    tally.connections += count
    this.#judge(count, tally)
    if (mishap && !this.isStopped) await this.#probe()
    await this.#leave()
  }

  #party(stream: Duplex, id: number, first: boolean, isCalm = false): Party {
    const random = new Random(this.#seeds + id * 2 + Number(first))
    const manners = isCalm
      ? { rudeness: 0, maxBytes: 2000, longestStop: 0 }
      : { rudeness: this.#rudeness, maxBytes: this.#maxBytes, longestStop: 60 }
    return new Party(stream, { key: id, first, random, cut, ...manners })
  }

  #weather(count: number): void {
    const { client, daemon } = this.#site.networks
    const bytes = count * 30_000
    const deeds: readonly Deed[] = ['reset', 'close', 'half']
    for (const [name, network] of [
      ['client', client],
      ['daemon', daemon],
    ] as const) {
      const random = this.#random.fork()
      const isStruck =
        this.fate === name || (this.fate === 'silence' && name === this.#random.pick(['client', 'daemon']))
      const deed = this.fate === 'silence' ? 'silence' : random.pick(deeds)
      const mishap: Mishap = {
        deed,
        // Some at once, while everything is still being agreed on.
        afterBytes: random.chance(0.3) ? random.between(1, 20_000) : random.between(1, bytes),
        all: random.chance(0.5),
      }
      network.begin(random, random.chance(0.4) ? CLEAR : weatherOf(random), isStruck ? mishap : undefined)
    }
  }

  async #befall(): Promise<void> {
    const random = this.#random.fork()
    const { edge, origin } = this.#site
    if (this.fate === 'refusals') {
      await wait(random.between(0, 30))
      this.#wasRefusing = true
      origin.refuse()
      await wait(random.between(1, 40))
      await origin.listen()
    }
    if (this.fate === 'drain') {
      await wait(random.between(0, 150))
      this.isStopped = true
      const closing = edge.close()
      // In the good case everything that was let in comes to its own end.
      if (random.chance(0.5)) {
        await wait(random.between(0, 150))
        this.#isExcused = true
        await edge.close()
      }
      await closing
    }
  }

  async #connect(id: number, random: Random): Promise<void> {
    if (random.chance(0.5)) await turns(random.between(0, 200))
    else await wait(random.between(0, 60))
    const leaving = new AbortController()
    const isLeaving = random.chance(0.05)
    const timer = isLeaving && setTimeout(() => leaving.abort('enough'), random.between(0, 20))
    const signal = isLeaving ? AbortSignal.any([this.#signal.signal, leaving.signal]) : this.#signal.signal
    try {
      const stream = await this.#client.open({ signal, log: quiet })
      const first = Buffer.alloc(4)
      first.writeUInt32BE(id)
      stream.write(first)
      this.#near.set(id, this.#party(stream, id, true))
    } catch (error) {
      this.#mayFail(error)
      this.#unopened.add(id)
    } finally {
      if (timer) clearTimeout(timer)
    }
  }

  /** A refusal has a cause, or is none. @throws what has no cause */
  #mayFail(error: unknown): void {
    if (error === 'enough') return
    if (!PosternError.is(error)) throw error
    if (['client', 'daemon', 'silence'].includes(this.fate) || this.isStopped) return
    // Unreachable, or cut before the yes was heard: it was in the queue when that was closed.
    if (this.#wasRefusing && ['ORIGIN_REFUSED', 'ORIGIN_UNREACHABLE', 'STREAM_CUT'].includes(error.code)) return
    throw new Error(`a connection was refused without a cause: ${error.code} ${error.message}`, { cause: error })
  }

  /** Waits until every connection is over. @throws when nothing moves any more */
  async #over(): Promise<void> {
    const parties = () => [...this.#near.values(), ...this.#far.values()]
    const open = () => parties().filter(party => !party.closed)
    const { origin } = this.#site
    await moving(
      () => open().length === 0 && origin.open === 0,
      () => parties().reduce((sum, { sent, received, closed }) => sum + sent + received + Number(closed), origin.open),
      () => {
        const each = open().map(
          ({ options: { key, first }, sent, received, finishing, ended }) =>
            `${key}${first ? '' : ' at the service'}: sent ${sent}${finishing ? ', ended' : ''}, read ${received}${ended ? ', to the end' : ''}`,
        )
        return `hangs: ${each.join('; ') || `${origin.open} connections to the service`}`
      },
    )
  }

  #judge(count: number, tally: Tally): void {
    for (let id = 0; id < count; id++) {
      const [near, far] = [this.#near.get(id), this.#far.get(id)]
      if (near === undefined && far === undefined) {
        if (!this.#unopened.has(id)) throw new Error(`connection ${id} is nowhere`)
        tally.unopened += 1
        continue
      }
      // Who was already in the queue of a service that stops to listen is let in, and cut by the kernel.
      const isTurnedAway = this.#wasRefusing && far === undefined
      tally[judge(near, far, this.#isExcused || isTurnedAway || this.#unopened.has(id))] += 1
      tally.bytes += (near?.received ?? 0) + (far?.received ?? 0)
    }
  }

  /** The network is well again: a client that was cut off gets through by itself. */
  async #probe(): Promise<void> {
    const signal = AbortSignal.timeout(PATIENCE)
    for (;;) {
      try {
        const stream = await this.#client.open({ signal, log: quiet })
        const first = Buffer.alloc(4)
        first.writeUInt32BE(PROBE)
        this.#site.origin.serve = (socket, id) => void this.#far.set(id, this.#party(socket, id, false, true))
        this.#far.delete(PROBE)
        stream.write(first)
        const near = this.#party(stream, PROBE, true, true)
        await moving(
          () => near.closed && (this.#far.get(PROBE)?.closed ?? near.error !== undefined),
          () => near.received + near.sent,
          () => 'the probe hangs',
        )
        if (judge(near, this.#far.get(PROBE), true) === 'clean') return
      } catch (error) {
        if (!PosternError.is(error) || signal.aborted) throw error
      }
      if (signal.aborted) throw new Error('nothing gets through after the network is well again')
      await wait(50)
    }
  }

  /** The client goes; nothing of it stays, and the daemon is back where it was cut off. */
  async #leave(): Promise<void> {
    const { edge, daemon, origin, networks } = this.#site
    await this.#client[Symbol.asyncDispose]()
    const left = () => ({
      sessions: edge.counts().sessions,
      sockets: this.isStopped ? 0 : Math.abs(CONNECTIONS - edge.counts().sockets),
      service: origin.open,
      client: networks.client.connections,
      missing: this.isStopped ? 0 : Math.abs(CONNECTIONS - daemon.connections),
      connectors: this.isStopped ? 0 : Math.abs(CONNECTIONS - edge.counts().connectors),
      daemon: this.isStopped ? 0 : Math.abs(CONNECTIONS - networks.daemon.connections),
    })
    await moving(
      () => Object.values(left()).every(count => count === 0),
      () => Object.values(left()).join(),
      () => `left over: ${JSON.stringify(left())}`,
    )
  }
}

function weatherOf(random: Random): Weather {
  return {
    single: random.pick([0, 0, 20, 300]),
    piece: random.pick([7, 100, 1448]),
    pieces: random.pick([0, 1000, 5000]),
    hold: random.pick([0, 0.02, 0.2]),
    holdMs: random.pick([2, 25]),
  }
}

function pick(at: number): Fate {
  let sum = 0
  for (const [fate, share] of Object.entries(FATES)) {
    sum += share
    if (at < sum) return fate as Fate
  }
  return 'none'
}

/** Waits for something as long as anything moves. @throws with `why`, when nothing has for {@link PATIENCE} */
async function moving(isSo: () => boolean, progress: () => unknown, why: () => string): Promise<void> {
  let last = progress()
  let since = performance.now()
  while (!isSo()) {
    await wait(2)
    const now = progress()
    if (now !== last) since = performance.now()
    last = now
    if (performance.now() - since > PATIENCE) throw new Error(why())
  }
}
