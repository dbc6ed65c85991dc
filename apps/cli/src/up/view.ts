import type { Logger, Ui } from '@postern/interface'
import { createLog, jsonLineOf, type Level, type Program, terminal } from '@postern/program'
import { GRACE, type Made } from './fleet.ts'
import type { Status } from './keeper.ts'
import { Screen, type Terminal } from './screen.ts'
import { type Row, renderTable, type Size } from './table.ts'

/** How a run shows what becomes of its forwards. */
export interface View extends Disposable {
  readonly log: Logger
  /** Where people are told and asked, beside what is shown. */
  readonly ui: Ui
  /** Something of a forward is otherwise. */
  changed(members: readonly Made[]): void
  /** Somebody stopped the run. */
  ending(): void
}

/** One JSON line on stdout for each change of state, `access up --json`. */
export class Lines implements View {
  readonly ui: Ui = once(terminal, line => terminal.show(line))
  readonly log: Logger
  readonly #program: Program
  readonly #told = new WeakMap<object, Status>()

  constructor(program: Program, level: Level) {
    this.#program = program
    this.log = program.log(level)
  }

  changed(members: readonly Made[]): void {
    for (const { planned, keeper } of members) {
      const { status, address } = keeper
      if (this.#told.get(keeper) === status) continue
      this.#told.set(keeper, status)
      const { hostname, protocol } = planned
      const line = {
        time: new Date().toISOString(),
        event: status.state,
        hostname,
        address,
        protocol,
        ...factsOf(status),
      }
      this.#program.print(jsonLineOf(line))
    }
  }

  ending(): void {}

  [Symbol.dispose](): void {}
}

function factsOf(status: Status): object {
  if ('error' in status) {
    const { code, message, speaker, requestId, next } = status.error
    return { code, message, speaker, requestId, next }
  }
  return status.state === 'up' ? { transport: status.transport, mode: status.mode } : {}
}

export interface TableOptions {
  readonly program: Program
  readonly level: Level
  readonly terminal: Terminal
  readonly colour: boolean
  /** The file’s name, for the last line. */
  readonly name: string
}

/** A table at the end of what the terminal shows; the log goes above it. */
export class Table implements View {
  readonly ui: Ui
  readonly log: Logger
  readonly #screen: Screen
  readonly #options: TableOptions
  readonly #since = new WeakMap<object, { readonly status: Status; readonly at: string }>()
  #members: readonly Made[] = []
  #isEnding = false

  constructor(options: TableOptions) {
    const { program, level } = options
    this.#options = options
    this.#screen = new Screen(options.terminal, size => this.#draw(size))
    program.log(level) // so that a failure is told in as much detail
    const write = (line: string) => this.#screen.above(() => void process.stderr.write(line))
    this.log = createLog({ level, json: false, write, redact: program.redactor.scrub })
    this.ui = once(
      {
        interactive: terminal.interactive !== false,
        open: url => terminal.open(url),
        ask: (question, how, call) => this.#screen.without(() => terminal.ask(question, how, call)),
      },
      line => this.#screen.above(() => terminal.show(line)),
    )
  }

  changed(members: readonly Made[]): void {
    this.#members = members
    for (const { keeper } of members)
      if (this.#since.get(keeper)?.status !== keeper.status)
        this.#since.set(keeper, { status: keeper.status, at: new Date().toTimeString().slice(0, 5) })
    this.#screen.update()
  }

  ending(): void {
    this.#isEnding = true
    this.#screen.update()
  }

  [Symbol.dispose](): void {
    this.#screen[Symbol.dispose]()
  }

  #draw(size: Size): readonly string[] {
    const rows = this.#members.map(({ planned, keeper }): Row => {
      const { status, address, connections } = keeper
      return { hostname: planned.hostname, address, status, connections, since: this.#since.get(keeper)?.at ?? '' }
    })
    return renderTable(rows, this.#footer(rows), { ...size, colour: this.#options.colour })
  }

  #footer(rows: readonly Row[]): string {
    const open = rows.reduce((sum, row) => sum + row.connections, 0)
    const stays = rows.some(({ status }) => status.state !== 'ended' && status.state !== 'failed')
    if (!stays) return `${this.#options.name}: nothing runs any more.`
    if (this.#isEnding)
      return `Ending: ${open === 1 ? '1 connection has' : `${open} connections have`} ${GRACE / 1000} s to finish. Ctrl-C again ends now.`
    const up = rows.filter(({ status }) => status.state === 'up').length
    return `${this.#options.name}: ${up} of ${rows.length} up. Ctrl-C ends them.`
  }
}

/** A person for many forwards: what all of them say is said once, and of two questions the second waits. */
function once(ui: Omit<Ui, 'show'>, show: (line: string) => void): Ui {
  let said: string | undefined
  let asked: Promise<unknown> = Promise.resolve()
  return {
    interactive: ui.interactive !== false,
    open: url => ui.open(url),
    show: line => {
      if (line !== said) show(line)
      said = line
    },
    ask: (question, how, call) => {
      const ask = () => ui.ask(question, how, call)
      const answer = asked.then(ask, ask)
      asked = answer.catch(() => {})
      return answer
    },
  }
}
