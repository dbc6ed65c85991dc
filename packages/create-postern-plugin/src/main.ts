import { readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { createInterface } from 'node:readline/promises'
import { parseArgs } from 'node:util'
import { isKind, KINDS, type Kind, type Names, namesOf } from './names.ts'
import { isTaken, scaffold } from './scaffold.ts'

const HELP = `Makes a package with a plugin for Postern: a protocol, a way to sign in (auth), or a transport to the edge.

  npm create postern-plugin@latest NAME -- --kind KIND

  NAME           the package’s name, or the path of its new folder
  --kind KIND    protocol, auth or transport
  --name PLUGIN  what people type to use it; without it, NAME without “postern-” and KIND
  --help, --version

On a terminal it asks for what is not said. For example

  npm create postern-plugin@latest postern-protocol-redis -- --kind protocol

makes ./postern-protocol-redis, with a protocol “redis” in plain JavaScript with checked types: nothing to build.
`

const OPTIONS = {
  kind: { type: 'string' },
  name: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean' },
} as const

/** @returns the exit status: 0, 1 where the folder is taken or cannot be written, 2 for what cannot be meant */
export async function main(argv: readonly string[]): Promise<number> {
  try {
    const { values, positionals } = parseArgs({ args: [...argv], options: OPTIONS, allowPositionals: true })
    if (values.help) return say(HELP)
    if (values.version) return say(`${version()}\n`)
    if (positionals.length > 1) throw new Mistake(`one name, not ${positionals.length}: ${positionals.join(' ')}`)
    const { word, kind } = await complete(positionals[0], values.kind)
    const names = namesOf(word, kind, values.name, process.cwd())
    if (typeof names === 'string') throw new Mistake(names)
    return make(kind, names)
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error)
    const isMistake = error instanceof Mistake || (error as NodeJS.ErrnoException).code?.startsWith('ERR_PARSE_ARGS')
    process.stderr.write(`create-postern-plugin: ${text}\n${isMistake ? 'See --help.\n' : ''}`)
    return isMistake ? 2 : 1
  }
}

/** What was typed cannot be meant. */
class Mistake extends Error {}

function make(kind: Kind, names: Names): number {
  const place = relative(process.cwd(), names.folder) || '.'
  if (isTaken(names.folder)) throw new Error(`${place} is there and not empty: choose another name, or empty it`)
  const files = scaffold(kind, names)
  const cd = place === '.' ? '' : `  cd ${place}\n`
  return say(`${names.package}: ${kind === 'auth' ? 'an' : 'a'} ${kind} plugin “${names.plugin}”, ${files.length} files in ${place}. Next:

${cd}  npm install
  npm test         # the compliance kit, and a test of its own
  npm run types

README.md says how to try it, and how to release it.
`)
}

/** Asks for what is missing, where somebody is there to ask. */
async function complete(word: string | undefined, kind: string | undefined): Promise<{ word: string; kind: Kind }> {
  if (kind !== undefined && !isKind(kind))
    throw new Mistake(`--kind is ${KINDS.join(', ')}; not ${JSON.stringify(kind)}`)
  if (word !== undefined && kind !== undefined) return { word, kind }
  if (!process.stdin.isTTY || !process.stdout.isTTY)
    throw new Mistake(word === undefined ? 'a NAME is missing' : `--kind is missing: ${KINDS.join(', ')}`)
  const terminal = createInterface({ input: process.stdin, output: process.stdout })
  const left = new AbortController()
  terminal.on('close', () => left.abort())
  const ask = (question: string) => terminal.question(question, { signal: left.signal })
  try {
    const asked = kind ?? (await askKind(ask))
    return { word: word ?? (await askName(ask, asked)), kind: asked }
  } catch (error) {
    throw left.signal.aborted ? new Mistake('nothing was made') : error
  } finally {
    terminal.close()
  }
}

type Ask = (question: string) => Promise<string>

async function askKind(ask: Ask): Promise<Kind> {
  for (;;) {
    const answer = (await ask(`What kind of plugin: ${KINDS.join(', ')}? `)).trim()
    const [kind, ...others] = KINDS.filter(one => answer !== '' && one.startsWith(answer))
    if (kind && others.length === 0) return kind
  }
}

async function askName(ask: Ask, kind: Kind): Promise<string> {
  const usual = `postern-${kind}-sample`
  return (await ask(`Name of the package (${usual}): `)).trim() || usual
}

function say(text: string): number {
  process.stdout.write(text)
  return 0
}

function version(): string {
  const text = readFileSync(join(import.meta.dirname, '../package.json'), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}
