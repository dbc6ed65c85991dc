import { type Size, widthOf } from './table.ts'

/** Milliseconds: changes that come together are drawn together. */
const TOGETHER = 40

/** What of a terminal is used. */
export interface Terminal {
  readonly columns: number
  readonly rows: number
  write(text: string): unknown
  on(event: 'resize', heard: () => void): unknown
  off(event: 'resize', heard: () => void): unknown
}

/** Lines at the end of what a terminal shows, drawn anew in their place, with whatever else is said above them. */
export class Screen implements Disposable {
  readonly #terminal: Terminal
  readonly #draw: (size: Size) => readonly string[]
  readonly #update = () => this.update()
  #drawn: readonly string[] = []
  #timer: NodeJS.Timeout | undefined
  #isPaused = false

  constructor(terminal: Terminal, draw: (size: Size) => readonly string[]) {
    this.#terminal = terminal
    this.#draw = draw
    terminal.on('resize', this.#update)
  }

  /** Draws what there is now, soon. */
  update(): void {
    this.#timer ??= setTimeout(() => this.#redraw(), TOGETHER)
  }

  /** Says something that stays, above the lines. */
  above(say: () => void): void {
    this.#erase()
    say()
    this.#redraw()
  }

  /** Draws nothing while somebody is asked something. */
  async without<T>(work: () => Promise<T>): Promise<T> {
    this.#erase()
    this.#isPaused = true
    try {
      return await work()
    } finally {
      this.#isPaused = false
      this.#redraw()
    }
  }

  /** The last lines stay. */
  [Symbol.dispose](): void {
    this.#terminal.off('resize', this.#update)
    this.#redraw()
    this.#isPaused = true
  }

  #redraw(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#isPaused) return
    const { columns, rows } = this.#terminal
    const erasing = this.#erasing()
    this.#drawn = this.#draw({ columns: columns || 80, rows: rows || 24 })
    this.#terminal.write(`${erasing}${this.#drawn.map(line => `${line}\n`).join('')}`)
  }

  #erase(): void {
    const erasing = this.#erasing()
    this.#drawn = []
    if (erasing !== '') this.#terminal.write(erasing)
  }

  /** Where the window became narrower since, a line takes several rows: terminals break it anew. */
  #erasing(): string {
    const columns = this.#terminal.columns || 80
    const rows = this.#drawn.reduce((sum, line) => sum + Math.max(1, Math.ceil(widthOf(line) / columns)), 0)
    return rows > 0 ? `\r\u001b[${rows}A\u001b[J` : ''
  }
}
