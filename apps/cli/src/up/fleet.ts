import type { Call } from '@postern/interface'
import type { Keeper } from './keeper.ts'
import type { Planned } from './plan.ts'

/** A forward that is made, and not begun. Disposing it ends its client and its plugins. */
export interface Made extends AsyncDisposable {
  readonly planned: Planned
  readonly keeper: Keeper
}

interface Member extends Made {
  readonly stop: AbortController
  readonly over: Promise<void>
}

/** Milliseconds that open connections have to end when their forward does. */
export const GRACE = 10_000

/** The forwards of a run, in the order of their file. */
export class Fleet {
  #members: readonly Member[] = []
  /** The old ones of a reload, until they have ended. */
  readonly #leaving = new Set<Promise<void>>()
  #finished = false

  get members(): readonly Made[] {
    return this.#members
  }

  /**
   * Goes on with what is as it was, ends what is not planned any more, and begins the rest. One that failed is begun anew.
   *
   * @param make makes one, and dials nobody: what is wrong with one leaves everything as it was
   */
  async follow(
    plan: readonly Planned[],
    make: (planned: Planned, call: Call) => Promise<Made>,
    call: Call,
  ): Promise<void> {
    await using fresh = new AsyncDisposableStack()
    const kept = new Set<Member>()
    const next: (Member | Made)[] = []
    for (const planned of plan) {
      const old = this.#members.find(one => !kept.has(one) && isGoingOn(one) && one.planned.key === planned.key)
      if (old) kept.add(old)
      next.push(old ?? fresh.use(await make(planned, call)))
    }
    fresh.move()
    for (const one of this.#members) if (!kept.has(one)) this.#dismiss(one)
    this.#members = next.map(one => ('over' in one ? one : begin(one, call)))
    if (this.#finished) this.finish()
  }

  /** Every forward takes no more connections. What is open has {@link GRACE} ms to end. */
  finish(): void {
    this.#finished = true
    for (const one of this.#members) void leave(one)
  }

  /** Resolves when nothing is left that could come up again. */
  async over(): Promise<void> {
    for (;;) {
      const waited = this.#members
      await Promise.all([...waited.map(one => one.over), ...this.#leaving])
      if (waited === this.#members) return
    }
  }

  #dismiss(member: Member): void {
    const left = leave(member).finally(() => this.#leaving.delete(left))
    this.#leaving.add(left)
  }
}

function isGoingOn({ keeper }: Made): boolean {
  return keeper.status.state !== 'failed' && keeper.status.state !== 'ended'
}

function begin(made: Made, call: Call): Member {
  const stop = new AbortController()
  const run = async () => {
    await using _owned = made
    await made.keeper.run({ ...call, signal: AbortSignal.any([call.signal, stop.signal]) })
  }
  return { ...made, stop, over: run(), [Symbol.asyncDispose]: () => made[Symbol.asyncDispose]() }
}

async function leave({ keeper, stop, over }: Member): Promise<void> {
  keeper.finish()
  const late = setTimeout(() => stop.abort(), GRACE)
  await over.finally(() => clearTimeout(late))
}
