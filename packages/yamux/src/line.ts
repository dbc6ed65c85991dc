/** First come, first served. It keeps its room: who comes and goes costs nothing. */
export class Line<Item> {
  /** As many places as a power of two, used in a ring. */
  #places: (Item | undefined)[] = [undefined, undefined]
  #first = 0
  #count = 0

  get isEmpty(): boolean {
    return this.#count === 0
  }

  push(item: Item): void {
    if (this.#count === this.#places.length) this.#grow()
    this.#places[(this.#first + this.#count) & (this.#places.length - 1)] = item
    this.#count += 1
  }

  take(): Item | undefined {
    if (this.#count === 0) return undefined
    const item = this.#places[this.#first]
    this.#places[this.#first] = undefined
    this.#first = (this.#first + 1) & (this.#places.length - 1)
    this.#count -= 1
    return item
  }

  clear(): void {
    this.#places = [undefined, undefined]
    this.#first = this.#count = 0
  }

  #grow(): void {
    const { length } = this.#places
    const inOrder = [...this.#places.slice(this.#first), ...this.#places.slice(0, this.#first)]
    this.#places = [...inOrder, ...new Array<undefined>(length)]
    this.#first = 0
  }
}

/** What waits of the streams of one owner: those that send little, and all others. */
export class Owner<Item> {
  readonly ahead: Line<Item> = new Line()
  readonly behind: Line<Item> = new Line()
}

/** Owners take turns, and so do the streams of each: who has many in line has no more of the turns than who has one. */
export class Turns<Item> {
  /** Those of whom something waits. */
  readonly #lines: Line<Line<Item>> = new Line()

  get isEmpty(): boolean {
    return this.#lines.isEmpty
  }

  /** @param line of its owner */
  push(item: Item, line: Line<Item>): void {
    if (line.isEmpty) this.#lines.push(line)
    line.push(item)
  }

  take(): Item | undefined {
    const line = this.#lines.take()
    const item = line?.take()
    if (line?.isEmpty === false) this.#lines.push(line)
    return item
  }

  clear(): void {
    this.#lines.clear()
  }
}
