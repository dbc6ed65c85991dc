import type { Clock } from '../src/clock.ts'
import { turns } from './pipe.ts'

/** Time that passes when told to, one second at a time, with turns of the loop between. */
export class FakeClock implements Clock {
  #now = 0
  readonly #timers: Set<{ at: number; every?: number; run: () => void }> = new Set()

  now(): number {
    return this.#now
  }

  after(ms: number, run: () => void): () => void {
    return this.#add({ at: this.#now + ms, run })
  }

  every(ms: number, run: () => void): () => void {
    return this.#add({ at: this.#now + ms, every: ms, run })
  }

  /** Timers that wait. */
  get pending(): number {
    return this.#timers.size
  }

  async advance(ms: number): Promise<void> {
    await turns()
    const end = this.#now + ms
    while (this.#now < end) {
      this.#now = Math.min(end, this.#now + 1000)
      this.#run()
      await turns(20)
    }
  }

  /** Like a machine that slept: time is later, and each timer fires once. */
  async jump(ms: number): Promise<void> {
    this.#now += ms
    this.#run()
    await turns(20)
  }

  #add(timer: { at: number; every?: number; run: () => void }): () => void {
    this.#timers.add(timer)
    return () => this.#timers.delete(timer)
  }

  #run(): void {
    for (const timer of [...this.#timers].sort((a, b) => a.at - b.at)) {
      if (timer.at > this.#now || !this.#timers.has(timer)) continue
      if (timer.every === undefined) this.#timers.delete(timer)
      else timer.at = this.#now + timer.every
      timer.run()
    }
  }
}
