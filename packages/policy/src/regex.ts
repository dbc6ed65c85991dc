import { RE2JS } from 're2js'

const LONGEST_PATTERN = 256

/** A regular expression that takes time in proportion to what it reads, whoever wrote either. */
export interface Regex {
  /** Whether the whole text is one that it means. */
  matches(text: string): boolean
}

/** @returns what is wrong with it, as the end of a sentence */
export function readRegex(pattern: string): Regex | string {
  if (pattern.length > LONGEST_PATTERN) return `has a regular expression of more than ${LONGEST_PATTERN} characters`
  try {
    const compiled = RE2JS.compile(pattern)
    return { matches: text => compiled.matches(text) }
  } catch {
    return 'has a regular expression that RE2 does not know; there are no look-arounds and back-references'
  }
}
