/** A timer of a {@link FakeClock}; what it holds is the clock's own business. */
export interface ClockTimer {
  readonly at: number
  readonly due: () => void
}

/** Time that passes only when told to. Its members have the shapes of the globals, so that either can be handed in. */
export interface FakeClock {
  /** Milliseconds. */
  now(): number
  setTimeout(due: () => void, milliseconds: number): ClockTimer
  clearTimeout(timer: ClockTimer | undefined): void
  /** Lets time pass, and everything due in it happen in its order. After each timer, what was waiting for it runs too. */
  advance(milliseconds: number): Promise<void>
  /** Timers that wait: at the end of a test, each is a leak. */
  readonly pending: number
}

export function fakeClock(start = 0): FakeClock {
  const timers = new Set<ClockTimer>()
  let now = start
  const next = (until: number): ClockTimer | undefined => {
    let first: ClockTimer | undefined
    for (const timer of timers) if (timer.at <= until && (!first || timer.at < first.at)) first = timer
    return first
  }
  return {
    now: () => now,
    setTimeout: (due, milliseconds) => {
      const timer = { at: now + Math.max(0, milliseconds), due }
      timers.add(timer)
      return timer
    },
    clearTimeout: timer => {
      if (timer) timers.delete(timer)
    },
    advance: async milliseconds => {
      const until = now + milliseconds
      await settled()
      for (let timer = next(until); timer; timer = next(until)) {
        now = timer.at
        timers.delete(timer)
        timer.due()
        await settled()
      }
      now = until
    },
    get pending() {
      return timers.size
    },
  }
}

/** Whatever was ready to run has run, streams of this process included. */
function settled(): Promise<void> {
  return new Promise(resolve => setImmediate(() => setImmediate(resolve)))
}
