/** Secrets that are looked for, and everything that they are looked for in. */
export class Canaries {
  /** By what they are. */
  readonly #values = new Map<string, string>()
  /** By where it was written or shown. */
  readonly outputs = new Map<string, string>()

  get size(): number {
    return this.#values.size
  }

  /** @throws when it is too short to be told from chance */
  keep(name: string, value: string): string {
    if (value.length < 16) throw new Error(`${name} is too short to be looked for`)
    this.#values.set(name, value)
    // What is secret of a cookie, and of a token, stands last.
    const last = value.split('.').at(-1) ?? ''
    if (last !== value && last.length >= 16) this.#values.set(`${name}, its last part`, last)
    return value
  }

  get(name: string): string {
    const value = this.#values.get(name)
    if (value === undefined) throw new Error(`no ${name}; there are: ${[...this.#values.keys()].join(', ')}`)
    return value
  }

  /** Something more that was written or shown. */
  show(where: string, text: string): void {
    this.outputs.set(`${where} (${this.outputs.size + 1})`, text)
  }

  /** Which of them are in a text, as they are or as an address or a form has them. */
  in(text: string): readonly string[] {
    return [...this.#values].flatMap(([name, value]) =>
      text.includes(value) || text.includes(encodeURIComponent(value)) ? [name] : [],
    )
  }

  /** Every one that is anywhere. */
  found(): readonly string[] {
    return [...this.outputs].flatMap(([where, text]) => this.in(text).map(what => `${what} in ${where}`))
  }
}
