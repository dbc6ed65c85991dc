import { PosternError } from '@postern/interface'
import type { ConfigFile } from '@postern/program'

/** So many are told in one message; `ingress validate` tells all. */
const MOST_TOLD = 8

/** A key as a message may repeat it: what does not look like one may be a secret whose colon was forgotten. */
export function nameOf(key: string): string {
  return /^[a-z_-]{1,24}$/i.test(key) ? JSON.stringify(key) : 'a word here'
}

/** What is wrong with a config file, all of it, each with its place. */
export class Mistakes {
  readonly #file: ConfigFile
  readonly #told: string[] = []

  constructor(file: ConfigFile) {
    this.#file = file
  }

  get count(): number {
    return this.#told.length
  }

  /** `/etc/postern/posternd.yaml:12:5: …`, from the first line to the last. */
  get list(): readonly string[] {
    const placeOf = (text: string) =>
      /^:(\d+):(\d+)/.exec(text.slice(this.#file.path.length))?.slice(1).map(Number) ?? []
    return this.#told.toSorted((a, b) => {
      const [line = 0, column = 0] = placeOf(a)
      const [otherLine = 0, otherColumn = 0] = placeOf(b)
      return line - otherLine || column - otherColumn
    })
  }

  add(at: readonly (string | number)[], why: string): void {
    this.#told.push(`${this.#file.where(at)}: ${why}`)
  }

  /** One that names its place already. */
  addTold(mistake: string): void {
    this.#told.push(mistake)
  }

  /** Runs a reader of one value. @returns undefined when it refused the value */
  try<T>(at: readonly (string | number)[], read: () => T): T | undefined {
    try {
      return read()
    } catch (error) {
      this.add(at, PosternError.from(error).message)
      return undefined
    }
  }

  /** @throws PosternError CONFIG_INVALID */
  throwIfAny(): void {
    if (this.count === 0) return
    const more = this.count > MOST_TOLD ? [`and ${this.count - MOST_TOLD} more`] : []
    throw new PosternError('CONFIG_INVALID', [...this.list.slice(0, MOST_TOLD), ...more].join('; '))
  }
}
