import type { Fields, Logger } from '@postern/interface'

/** Takes every secret that was read out of whatever is shown or logged. */
export interface Redactor {
  /** From now on this text is a secret. Shorter than 4 characters is ignored: taking it out would spoil every line and tell what it is. */
  add(secret: string): void
  /** The text with each secret, as it is or URL-encoded, base64-encoded or JSON-escaped, replaced by `[redacted]`. */
  scrub(text: string): string
  /** Names and values alike. */
  scrubFields(fields: Fields): Fields
  /** A logger in front of another, which never sees a secret. */
  logger(inner: Logger): Logger
}

const SHORTEST = 4
/** A line of a many-lined secret (a PEM key) that is shorter than this is no secret by itself. */
const SHORTEST_LINE = 16
const MARK = '[redacted]'

export function createRedactor(): Redactor {
  const known = new Set<string>()
  let pattern: RegExp | undefined

  const scrub = (text: string): string => {
    if (known.size === 0) return text
    // The longest first, or a secret that begins with another one would leave its rest behind.
    pattern ??= new RegExp(
      [...known]
        .sort((a, b) => b.length - a.length)
        .map(escaped)
        .join('|'),
      'g',
    )
    return text.replace(pattern, MARK)
  }

  const scrubFields = (fields: Fields): Fields =>
    Object.fromEntries(Object.entries(fields).map(([name, value]) => [scrub(name), scrubValue(value, scrub)]))

  return {
    add(secret) {
      for (const form of formsOf(secret)) known.add(form)
      pattern = undefined
    },
    scrub,
    scrubFields,
    logger: inner => ({
      debug: (message, fields) => inner.debug(scrub(message), fields && scrubFields(fields)),
      info: (message, fields) => inner.info(scrub(message), fields && scrubFields(fields)),
      warn: (message, fields) => inner.warn(scrub(message), fields && scrubFields(fields)),
      error: (message, fields) => inner.error(scrub(message), fields && scrubFields(fields)),
    }),
  }
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&')
}

function scrubValue(value: Fields[string], scrub: (text: string) => string): Fields[string] {
  if (value === undefined || typeof value === 'boolean') return value
  const text = String(value)
  const clean = scrub(text)
  return clean === text ? value : clean
}

function formsOf(secret: string): string[] {
  const whole = secret.trim()
  if (whole.length < SHORTEST) return []
  const lines = whole.includes('\n') ? whole.split(/\r?\n/).filter(line => line.length >= SHORTEST_LINE) : []
  return [whole, ...lines].flatMap(text => {
    const bytes = Buffer.from(text)
    const encoded = [
      bytes.toString('base64').replace(/=+$/, ''),
      bytes.toString('base64url'),
      encodeURIComponent(text.toWellFormed()),
    ]
    return [text, JSON.stringify(text).slice(1, -1), ...encoded]
  })
}
