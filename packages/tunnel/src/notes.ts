import type { Json } from '@postern/interface'

const LONGEST_WORD = 64
/** Characters of JSON. */
const LONGEST_DETAIL = 1024

/** A word out of anything: 1–64 visible ASCII characters. */
export function fitWord(text: string): string {
  return text.slice(0, LONGEST_WORD).replace(/[^\x21-\x7e]/g, '?') || '?'
}

/**
 * Plain data of at most 1,024 characters as JSON, without control characters, out of anything. Of what is longer the length is left, of
 * what JSON cannot say nothing.
 */
export function fitDetail(detail: unknown): Json | undefined {
  try {
    const text = JSON.stringify(detail)
    if (text === undefined) return undefined
    return text.length > LONGEST_DETAIL ? { omitted: text.length } : clean(JSON.parse(text))
  } catch {
    return undefined // a ring, a bigint, a getter that throws
  }
}

function clean(value: Json): Json {
  if (typeof value === 'string') return value.replace(/\p{C}/gu, '?')
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(clean)
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key.replace(/\p{C}/gu, '?'), clean(one)]))
}
