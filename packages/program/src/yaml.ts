import { type Json, PosternError } from '@postern/interface'
import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type Pair,
  parseDocument,
  type YAMLError,
} from 'yaml'
import type { ConfigFile } from './config-file.ts'

const DEEPEST = 32
const MOST_ALIASES = 100
/** What aliases may make of a file: they must not turn 1 MiB into gigabytes. */
const MOST_VALUES = 200_000
/** Words and signs. Each costs the parser a kilobyte and some microseconds, in which nothing else is done. Seven for a key and its value are usual. */
const MOST_TOKENS = 200_000
/** So many mistakes are told at once. */
const MOST_TOLD = 8

type Step = string | number

/** @throws PosternError CONFIG_INVALID */
export function parseYaml(path: string, text: string): ConfigFile {
  const lines = new LineCounter()
  const at = (offset: number): string => {
    const { line, col } = lines.linePos(offset)
    return `${path}:${line}:${col}`
  }
  const refuse = (offset: number, why: string) => new PosternError('CONFIG_INVALID', `${at(offset)}: ${why}`)
  if (hasManyTokens(text)) throw new PosternError('CONFIG_INVALID', `${path}: more than ${MOST_TOKENS} words and signs`)
  const document = parse(text, lines)
  const { version, explicit } = document.directives?.yaml ?? {}
  if (explicit && version !== '1.2') throw refuse(0, 'only YAML 1.2 is read')
  const wrong = [...document.errors, ...document.warnings] // an unknown tag is a warning there
  if (wrong.length > 0) {
    const told = wrong.slice(0, MOST_TOLD).map(error => `${at(error.pos[0])}: ${messageOf(error)}`)
    throw new PosternError('CONFIG_INVALID', told.join('; '))
  }
  const value = new Reader(document, refuse).read(document.contents, 0)
  return { path, value, where: steps => at(offsetOf(document, steps)) }
}

function hasManyTokens(text: string): boolean {
  let count = 0
  for (const _token of new Lexer().lex(text)) if (++count > MOST_TOKENS) return true
  return false
}

function parse(text: string, lineCounter: LineCounter): Document {
  // uniqueKeys compares each with each; the reader below looks them up.
  const how = { version: '1.2', schema: 'core', resolveKnownTags: false, uniqueKeys: false } as const
  return parseDocument(text, { ...how, prettyErrors: false, stringKeys: false, lineCounter })
}

/** In our words where the library’s repeat the text of the file, which may be a secret. */
function messageOf({ code, message }: YAMLError): string {
  if (code === 'UNEXPECTED_TOKEN') return 'this is not YAML: something stands here that cannot'
  if (code === 'TAG_RESOLVE_FAILED') return 'tags (!…) are not read'
  if (code === 'MULTIPLE_DOCS') return 'a second document begins here (---); a config file is one'
  if (code === 'RESOURCE_EXHAUSTION') return `nested deeper than ${DEEPEST} levels`
  return message
}

class Reader {
  readonly #document: Document
  readonly #refuse: (offset: number, why: string) => PosternError
  #aliases = 0
  #values = 0

  constructor(document: Document, refuse: (offset: number, why: string) => PosternError) {
    this.#document = document
    this.#refuse = refuse
  }

  read(node: unknown, depth: number): Json {
    const offset = isNode(node) ? (node.range?.[0] ?? 0) : 0
    if (depth > DEEPEST) throw this.#refuse(offset, `nested deeper than ${DEEPEST} levels`)
    if (++this.#values > MOST_VALUES) throw this.#refuse(offset, `more than ${MOST_VALUES} values`)
    if (node === null) return null
    if (isNode(node) && !isAlias(node) && node.tag?.startsWith('!'))
      throw this.#refuse(offset, 'tags (!…) are not read')
    if (isAlias(node)) {
      if (++this.#aliases > MOST_ALIASES) throw this.#refuse(offset, `more than ${MOST_ALIASES} aliases`)
      const meant = node.resolve(this.#document)
      if (!meant) throw this.#refuse(offset, 'nothing is called so')
      return this.read(meant, depth + 1)
    }
    if (isMap(node)) return this.#readMap(node.items, depth)
    if (isSeq(node)) return node.items.map(item => this.read(item, depth + 1))
    const value = isScalar(node) ? node.value : undefined
    if (value === null || typeof value === 'boolean' || typeof value === 'string') return value
    if (typeof value === 'number' && Number.isFinite(value)) return value
    throw this.#refuse(offset, 'not a value that a config file can have')
  }

  #readMap(items: readonly Pair[], depth: number): Json {
    const members = new Map<string, Json>()
    for (const { key, value } of items) {
      const offset = isNode(key) ? (key.range?.[0] ?? 0) : 0
      if (!isScalar(key) || typeof key.value !== 'string')
        throw this.#refuse(offset, 'a key is text; put it in quotes if it looks like something else')
      if (members.has(key.value)) throw this.#refuse(offset, `the key ${JSON.stringify(key.value)} is there twice`)
      members.set(key.value, this.read(value, depth + 1))
    }
    return Object.assign(Object.create(null), Object.fromEntries(members)) // `__proto__` is a key like any other
  }
}

/** Of a member of a map: where its key stands. */
function offsetOf(document: Document, steps: readonly Step[]): number {
  let node: unknown = document.contents
  let offset = isNode(node) ? (node.range?.[0] ?? 0) : 0
  for (const step of steps) {
    if (isAlias(node)) node = node.resolve(document)
    const child: unknown = isMap(node)
      ? node.items.find(({ key }) => isScalar(key) && key.value === step)
      : isSeq(node) && typeof step === 'number'
        ? node.items[step]
        : undefined
    const marked = isPair(child) ? child.key : child
    if (!isNode(marked)) break
    offset = marked.range?.[0] ?? offset
    node = isPair(child) ? child.value : child
  }
  return offset
}
