/**
 * Counts the answers in what Redis sends, however it is cut into chunks. It keeps none of it but the first characters of a line.
 * https://redis.io/docs/latest/develop/reference/protocol-spec/ (RESP2: what is spoken as long as nobody says HELLO)
 */
export class Replies {
  /** Whole answers so far. */
  count = 0
  #line = ''
  /** Bytes of a string that are still to come, its end of line included. */
  #string = 0
  /** Values that the answer at hand still lacks. */
  #missing = 0

  /** @param {Buffer} chunk */
  read(chunk) {
    for (let at = 0; at < chunk.length; ) {
      if (this.#string > 0) {
        const step = Math.min(this.#string, chunk.length - at)
        at += step
        this.#string -= step
        if (this.#string === 0) this.#value(0)
        continue
      }
      const end = chunk.indexOf('\n', at)
      const to = end < 0 ? chunk.length : end + 1
      if (this.#line.length < 16) this.#line += chunk.toString('latin1', at, Math.min(to, at + 16))
      at = to
      if (end >= 0) this.#head()
    }
  }

  /** A line is whole: a value, or what announces one. */
  #head() {
    const sign = this.#line[0]
    const length = Number.parseInt(this.#line.slice(1), 10)
    this.#line = ''
    this.#missing ||= 1
    if (sign === '$' && length >= 0) this.#string = length + 2
    else this.#value(sign === '*' && length > 0 ? length : 0)
  }

  /** One value less is missing, and those that are in it more. @param {number} inside */
  #value(inside) {
    this.#missing += inside - 1
    if (this.#missing === 0) this.count += 1
  }
}
