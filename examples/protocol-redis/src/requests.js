// What a Redis client sends, one command at a time: arrays of strings, or lines as one types them.
// https://redis.io/docs/latest/develop/reference/protocol-spec/
import { PosternError } from '@postern/interface'

/**
 * Takes commands apart no more than it must to know their names. It is stricter than Redis, never laxer: what Redis might read in
 * another way than this is refused, so that no command hides in another one.
 *
 * @param {AsyncIterable<Buffer>} source
 * @param {number} largest bytes of one command
 * @returns {AsyncGenerator<{ name: string, bytes: Buffer }, void>} the name in capital letters, empty for what Redis does not
 *   answer (an empty line); and the command as it was sent
 * @throws PosternError PROTOCOL_VIOLATION, REQUEST_TOO_LARGE
 */
export async function* readCommands(source, largest) {
  const input = new Input(source, largest)
  for (;;) {
    const line = await input.line()
    if (line === undefined) return
    const name = line.startsWith('*') ? await arrayName(line, input) : inlineName(line)
    yield { name, bytes: input.take() }
  }
}

/** @param {string} line @param {Input} input */
async function arrayName(line, input) {
  let name = ''
  for (let left = numberIn(line, '*'), first = true; left > 0; left--, first = false) {
    const word = await input.bytes(numberIn((await input.line()) ?? '', '$') + 2)
    if (!word.endsWith('\r\n')) throw violation('a string of another length than it said')
    if (first) name = commandName(word.slice(0, -2))
  }
  return name
}

/** @param {string} line */
function inlineName(line) {
  // Redis ends a line at a NUL and at other places of its own; a person at a keyboard types none of that.
  if (!/^[\t\x20-\x7e]*\r?\n$/.test(line)) throw violation('a line with control characters')
  const [word = ''] = line.trim().split(/[\t ]/)
  return word === '' ? '' : commandName(word)
}

/** A name that no permit can have stands for those that are none. @param {string} word */
function commandName(word) {
  return /^[\x21-\x7e]{1,64}$/.test(word) ? word.toUpperCase() : '?'
}

/** @param {string} line @param {'*' | '$'} sign */
function numberIn(line, sign) {
  const [, digits] = /^[*$](0|[1-9]\d{0,9})\r\n$/.exec(line) ?? []
  if (digits === undefined || !line.startsWith(sign)) throw violation(`no length after ${sign}`)
  return Number(digits)
}

/** The command that is being read, and what has arrived behind it. */
class Input {
  #source
  #largest
  #held = Buffer.alloc(4096)
  /** Where the command begins, what was read of it, and what has arrived. */
  #from = 0
  #at = 0
  #end = 0

  /** @param {AsyncIterable<Buffer>} source @param {number} largest */
  constructor(source, largest) {
    this.#source = source[Symbol.asyncIterator]()
    this.#largest = largest
  }

  /** With its end. @returns {Promise<string | undefined>} undefined when the client has ended, between two commands */
  async line() {
    for (let seen = 0; ; ) {
      const end = this.#held.subarray(this.#at + seen, this.#end).indexOf('\n')
      if (end >= 0) return this.#read(seen + end + 1)
      seen = this.#end - this.#at
      if (!(await this.#more())) return undefined
    }
  }

  /** @param {number} count */
  async bytes(count) {
    this.#check(this.#at - this.#from + count)
    while (this.#end - this.#at < count) await this.#more()
    return this.#read(count)
  }

  /** The command that was read, as it was sent; the next one begins behind it. */
  take() {
    const bytes = Buffer.from(this.#held.subarray(this.#from, this.#at))
    this.#from = this.#at
    if (this.#from === this.#end) this.#from = this.#at = this.#end = 0
    return bytes
  }

  /** @param {number} count */
  #read(count) {
    this.#at += count
    return this.#held.toString('latin1', this.#at - count, this.#at)
  }

  async #more() {
    this.#check(this.#end - this.#from)
    const { value, done } = await this.#source.next()
    if (done && this.#end > this.#from) throw violation('half a command, and then the end')
    if (done) return false
    if (this.#end + value.length > this.#held.length) this.#move(value.length)
    value.copy(this.#held, this.#end)
    this.#end += value.length
    return true
  }

  /** Into twice the room that is needed: what arrives in a thousand pieces is not copied a thousand times. @param {number} more */
  #move(more) {
    const held = this.#held.subarray(this.#from, this.#end)
    this.#held = Buffer.alloc(2 * (held.length + more))
    held.copy(this.#held)
    this.#at -= this.#from
    this.#from = 0
    this.#end = held.length
  }

  /** @param {number} size */
  #check(size) {
    if (size <= this.#largest) return
    throw new PosternError('REQUEST_TOO_LARGE', `a command of more than ${this.#largest} bytes`)
  }
}

/** @param {string} what */
function violation(what) {
  return new PosternError('PROTOCOL_VIOLATION', `the Redis client sent ${what}`)
}
