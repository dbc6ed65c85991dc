// One random schedule: two sessions, a pipe that cuts and delays, hundreds of streams that write, half-close, stall, reset and are killed.
// Every byte and every end is accounted for. The same code runs in the tests and, longer, in soak/schedules.ts.
import { content, matches, Random } from '@postern/compliance/random'
import { YamuxError, type YamuxOptions, YamuxSession, type YamuxStream } from '../src/index.ts'
import { type PipeEnd, pipePair } from './pipe.ts'

export interface ScheduleOptions {
  /** Streams of one schedule, of both directions together. */
  readonly streams: number
  /** Largest number of bytes one side writes on one stream. */
  readonly maxBytes: number
}

export interface ScheduleReport {
  /** Directions of streams read to a clean end. */
  clean: number
  /** Directions cut: each had a cause that the schedule knows. */
  cut: number
  bytes: number
}

/** What is known of one direction: written by one side, read by the other. */
interface Direction {
  readonly key: number
  written: number
  finished: boolean
  received: number
  outcome: 'open' | 'clean' | 'cut'
}

/** What is known of one stream, whoever opened it. */
interface Course {
  /** Somebody reset it, refused it or may have been refused. */
  excused: boolean
  offered: boolean
  ends: number
  readonly up: Direction
  readonly down: Direction
}

/** Turns without any progress after which a schedule counts as stuck. */
const PATIENCE = 20_000

class Schedule {
  readonly #random: Random
  readonly #options: ScheduleOptions
  readonly #courses: Map<number, Course> = new Map()
  readonly #sessions: YamuxSession[] = []
  readonly #pipes: [PipeEnd, PipeEnd]
  readonly #agenda: { at: number; act: () => void }[] = []
  readonly #wild: boolean
  #turn = 0
  #progress = 0
  #opened = 0
  #killed = false
  failure: string | undefined

  constructor(seed: number, options: ScheduleOptions) {
    this.#random = new Random(seed)
    this.#options = options
    this.#wild = this.#random.chance(0.5)
    const highWaterMark = this.#random.pick([1, 1000, 16_384, 65_536, 4_000_000])
    this.#pipes = pipePair({
      random: this.#random,
      maxPiece: this.#random.pick([100, 5000, 70_000, 1_000_000]),
      highWaterMark,
    })
    for (const [i, role] of (['client', 'server'] as const).entries()) {
      const onStream = (stream: YamuxStream): void => this.#offered(stream)
      this.#sessions.push(new YamuxSession(this.#pipes[i]!, { role, onStream, ...this.#limits() }))
    }
  }

  #limits(): Partial<YamuxOptions> {
    const random = this.#random
    return {
      window: random.pick([262_144, 262_145, 300_000, 1_048_576]),
      maxFrame: random.pick([500, 4096, 16_384, 65_536, 1_000_000]),
      maxWriteQueue: random.pick([1, 5000, 100_000, 1_048_576]),
      acceptBacklog: random.pick([4, 64, 256]),
      maxUnacknowledged: random.pick([2, 16, 256]),
      maxStreams: random.pick([20, 1024, 1024]),
    }
  }

  async run(): Promise<ScheduleReport> {
    let last = 0
    for (let idle = 0; this.failure === undefined; idle++) {
      this.#turn += 1
      this.#openSome()
      this.#runAgenda()
      if (this.#opened >= this.#options.streams && this.#open() === 0) break
      if (this.#progress !== last) idle = 0
      last = this.#progress
      if (idle > PATIENCE) this.#fail(`stuck with ${this.#open()} streams open`)
      await new Promise<void>(resolve => setImmediate(resolve))
    }
    await this.#close()
    // A stream destroyed in the very last turn says 'close' a tick later.
    await new Promise<void>(resolve => setImmediate(resolve))
    return this.#account()
  }

  #open(): number {
    return this.#sessions[0]!.streams + this.#sessions[1]!.streams
  }

  #openSome(): void {
    if (this.#killed) this.#opened = this.#options.streams
    for (let n = this.#random.below(6); n > 0 && this.#opened < this.#options.streams; n--) {
      const opener = this.#random.pick(this.#sessions)
      try {
        const stream = opener.open()
        this.#opened += 1
        const course = this.#course(stream.id)
        this.#watch(stream, course, course.down)
        this.#drive(stream, course, course.up, course.down)
      } catch (error) {
        if (!(error instanceof YamuxError) || !/^(TOO_MANY|PIPE_FULL)/.test(error.code)) throw error
      }
    }
    if (this.#wild && !this.#killed && this.#random.chance(0.002)) this.#kill()
  }

  #kill(): void {
    this.#killed = true
    const which = this.#random.below(2)
    const session = this.#sessions[which]!
    const pipe = this.#pipes[which]!
    this.#random.pick([
      () => session.destroy(),
      () => void session.end(),
      () => pipe.destroy(),
      () => void pipe.end(),
    ])()
  }

  #course(id: number): Course {
    const direction = (key: number): Direction => ({ key, written: 0, finished: false, received: 0, outcome: 'open' })
    const course = { excused: false, offered: false, ends: 1, up: direction(id * 2), down: direction(id * 2 + 1) }
    this.#courses.set(id, course)
    return course
  }

  #offered(stream: YamuxStream): void {
    const course = this.#courses.get(stream.id)
    if (course === undefined) {
      this.#fail(`stream ${stream.id} was offered, but nobody opened it`)
      return
    }
    course.offered = true
    course.ends += 1
    this.#watch(stream, course, course.up)
    this.#after(this.#random.pick([0, 0, 1, 30]), () => {
      stream.accept()
      this.#drive(stream, course, course.down, course.up)
    })
  }

  /** One end of a stream: a writer and a reader, each with a will of its own. */
  #drive(stream: YamuxStream, course: Course, out: Direction, into: Direction): void {
    this.#read(stream, into)
    this.#write(stream, out)
    if (this.#wild && this.#random.chance(0.15)) {
      this.#after(this.#random.below(60), () => {
        if (stream.destroyed) return
        course.excused = true
        stream.destroy(this.#random.chance(0.5) ? new Error('a reset of the schedule') : undefined)
      })
    }
  }

  #watch(stream: YamuxStream, course: Course, into: Direction): void {
    stream.on('close', () => {
      this.#progress += 1
      course.ends -= 1
      if (into.outcome === 'open') into.outcome = 'cut'
    })
  }

  #read(stream: YamuxStream, into: Direction): void {
    const take = (chunk: Buffer): void => {
      this.#progress += 1
      if (!matches(into.key, into.received, chunk)) this.#fail(`stream ${stream.id}: wrong bytes at ${into.received}`)
      into.received += chunk.length
    }
    stream.on('end', () => {
      if (!into.finished) this.#fail(`stream ${stream.id}: an end that nobody wrote`)
      if (into.received !== into.written)
        this.#fail(`stream ${stream.id}: clean end at ${into.received} of ${into.written}`)
      into.outcome = 'clean'
    })
    if (this.#random.chance(0.2)) {
      stream.on('readable', () => {
        for (let chunk = stream.read() as Buffer | null; chunk !== null; chunk = stream.read() as Buffer | null)
          take(chunk)
      })
      return
    }
    stream.on('data', (chunk: Buffer) => {
      take(chunk)
      if (!this.#random.chance(0.05)) return
      stream.pause()
      this.#after(this.#random.below(100), () => stream.resume())
    })
  }

  #write(stream: YamuxStream, out: Direction): void {
    const scale = this.#random.below(100)
    const total = this.#random.below(scale < 60 ? 2000 : scale < 95 ? 60_000 : this.#options.maxBytes)
    const largest = this.#random.pick([10, 1000, 16_384, 131_072])
    const patient = this.#random.chance(0.8)
    const go = (): void => {
      for (let n = 0; out.written < total; n++) {
        if (stream.destroyed) return
        const size = Math.min(total - out.written, this.#random.between(1, Math.max(largest, total >> 8)), 131_072)
        const chunk = content(out.key, out.written, size)
        out.written += size
        this.#progress += 1
        const wait = !stream.write(chunk) && patient
        if (wait) stream.once('drain', go)
        else if (n === 200 || this.#random.chance(0.1)) this.#after(this.#random.between(1, 10), go)
        else continue
        return
      }
      this.#after(this.#random.pick([0, 0, 40]), () => {
        if (stream.destroyed) return
        out.finished = true
        stream.end()
      })
    }
    go()
  }

  #after(turns: number, act: () => void): void {
    if (turns === 0) act()
    else this.#agenda.push({ at: this.#turn + turns, act })
  }

  #runAgenda(): void {
    const due = this.#agenda.filter(item => item.at <= this.#turn)
    if (due.length === 0) return
    this.#progress += 1
    const later = this.#agenda.filter(item => item.at > this.#turn)
    this.#agenda.splice(0, this.#agenda.length, ...later)
    for (const item of due) item.act()
  }

  async #close(): Promise<void> {
    const ours = this.#pipes.map(pipe => pipe.eventNames().length)
    if (ours.some(count => count === 0) && !this.#killed) this.#fail('a session let its pipe go while it was open')
    await this.#sessions[0]!.end()
    const outcomes = await Promise.all(this.#sessions.map(session => session.closed))
    if (!this.#killed && this.failure === undefined) {
      for (const { clean, error } of outcomes) if (!clean) this.#fail(`the end was not clean: ${error?.message}`)
    }
    for (const pipe of this.#pipes) {
      for (const event of ['data', 'end', 'error', 'close', 'drain']) {
        if (pipe.listenerCount(event) > (event === 'end' ? 1 : 0))
          this.#fail(`a listener for '${event}' is left on the pipe`)
      }
    }
  }

  #account(): ScheduleReport {
    const report: ScheduleReport = { clean: 0, cut: 0, bytes: 0 }
    for (const [id, course] of this.#courses) {
      if (course.ends !== 0) this.#fail(`stream ${id}: ${course.ends} ends were never closed`)
      // A stream past the peer's limits is refused: it was never offered to the application there.
      const mayBeCut = course.excused || this.#killed || !course.offered
      for (const direction of [course.up, course.down]) {
        report.bytes += direction.received
        if (direction.outcome === 'clean') report.clean += 1
        else report.cut += 1
        if (direction.outcome !== 'clean' && !mayBeCut) this.#fail(`stream ${id}: cut without a cause`)
      }
    }
    return report
  }

  #fail(message: string): void {
    this.failure ??= message
  }
}

/** Runs one schedule. Throws with the seed in the message when anything is lost, invented, out of order or left over. */
export async function runSchedule(seed: number, options: ScheduleOptions): Promise<ScheduleReport> {
  const schedule = new Schedule(seed, options)
  try {
    const report = await schedule.run()
    if (schedule.failure !== undefined) throw new Error(schedule.failure)
    return report
  } catch (error) {
    throw new Error(`schedule with seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    })
  }
}
