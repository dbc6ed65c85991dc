import { type Json, PosternError } from '@postern/interface'

/** Objects and lists within each other. */
const DEEPEST = 32
const LONGEST_NAME = 64

/**
 * Reads JSON strictly: UTF-8, no member named twice (`JSON.parse` keeps the last), none called `__proto__`, 32 levels deep.
 *
 * @throws PosternError BAD_USAGE
 */
export function parseStrictly(bytes: Uint8Array): Json {
  let text: string
  let value: Json
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    value = JSON.parse(text) as Json
  } catch {
    // The parser's own words repeat what was sent.
    throw mistake('the body is not JSON')
  }
  checkMembers(text)
  return value
}

/** @param text JSON that is known to be well-formed */
function checkMembers(text: string): void {
  /** Of each object the names so far; of a list nothing. */
  const open: (Set<string> | undefined)[] = []
  let namesNext = false
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at]
    if (character === '{' || character === '[') {
      open.push(character === '{' ? new Set() : undefined)
      if (open.length > DEEPEST) throw mistake(`the body is deeper than ${DEEPEST} levels`)
      namesNext = character === '{'
    } else if (character === '}' || character === ']') {
      open.pop()
      namesNext = false
    } else if (character === ',') {
      namesNext = open.at(-1) !== undefined
    } else if (character === '"') {
      const end = endOfString(text, at)
      if (namesNext) addName(open.at(-1), JSON.parse(text.slice(at, end)) as string)
      namesNext = false
      at = end - 1
    }
  }
}

function addName(names: Set<string> | undefined, name: string): void {
  const shown = JSON.stringify(name.slice(0, LONGEST_NAME))
  if (name === '__proto__') throw mistake(`the body has a member that is not known: ${shown}`)
  if (names?.has(name)) throw mistake(`the body has the member ${shown} twice`)
  names?.add(name)
}

/** @returns behind the closing quote */
function endOfString(text: string, start: number): number {
  let at = start + 1
  while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1
  return at + 1
}

function mistake(message: string): PosternError {
  return new PosternError('BAD_USAGE', message, { speaker: 'edge' })
}
