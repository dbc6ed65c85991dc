import type { Answer, Input, RouteName } from '@postern/admin'
import { type Call, PosternError } from '@postern/interface'
import {
  type Command,
  createSecretReader,
  type HostOptionSpecs,
  parseCommandLine,
  readOptions,
  renderHelp,
  resolvePending,
  type Values,
} from '@postern/options'
import { type Program, readLevel, terminal } from '@postern/program'
import { ADMIN_FLAGS } from './options.ts'
import { findPlace, type Place } from './place.ts'
import { jsonLine, safe } from './show.ts'

export type AdminFlags = Values<typeof ADMIN_FLAGS>

/** A command of `postern tunnel` or `postern admin`: a node with children, or a leaf that runs. */
export interface AdminCommand extends Command<AdminCommand> {
  run?(argv: readonly string[], path: readonly string[], program: Program, call: Call): Promise<void>
}

export interface Context<W extends string, O extends HostOptionSpecs> {
  /** What the words stand for: `words.NAME`. */
  readonly words: Readonly<Record<W, string>>
  readonly values: Values<O>
  readonly flags: AdminFlags
  readonly program: Program
  readonly call: Call
  /** Which edge the flags mean. */
  place(): Promise<Place>
  /** Calls a route there. */
  ask<N extends RouteName>(route: N, input: Input<N>): Promise<Answer<N>>
  /** To the person, on stderr; to nobody with `--json`. */
  say(line: string): void
  /** A part of a result that goes on: one JSON value a line with `--json`. */
  print(value: unknown, text: string): void
}

interface Definition<W extends string, O extends HostOptionSpecs, R> {
  readonly summary: string
  /** What stands behind the command, as the help shows it: `NAME`. */
  readonly words?: readonly W[]
  readonly options?: O
  /** A whole command line. */
  readonly example: string
  /** The result as `--json` prints it; undefined where all was printed on the way. */
  run(context: Context<W, O>): Promise<R>
  /** The result for people. */
  show(result: Exclude<R, undefined>, context: Context<W, O>): string | Promise<string>
}

/** A command with children. */
export function group(summary: string, commands: Readonly<Record<string, AdminCommand>>): AdminCommand {
  return { summary, commands }
}

/** A command that does one thing. */
export function command<
  const W extends string = never,
  const O extends HostOptionSpecs = Record<never, never>,
  R = never,
>(definition: Definition<W, O, R>): AdminCommand {
  return {
    summary: definition.summary,
    async run(argv, path, program, call) {
      const options: HostOptionSpecs = definition.options ?? {}
      const specs = { ...options, ...ADMIN_FLAGS }
      const line = parseCommandLine(argv, specs)
      if (line.given.some(({ option }) => option === 'help')) return program.print(help(definition, path))
      const context = await contextOf(definition, line, program, call)
      const result = await definition.run(context)
      if (result === undefined) return
      program.print(program.json ? jsonLine(result) : await definition.show(result as Exclude<R, undefined>, context))
    },
  }
}

async function contextOf<W extends string, O extends HostOptionSpecs, R>(
  definition: Definition<W, O, R>,
  line: ReturnType<typeof parseCommandLine>,
  program: Program,
  outer: Call,
): Promise<Context<W, O>> {
  const options = (definition.options ?? {}) as O
  const { given, pending } = line
  const { env, cwd, redactor } = program
  const resolved = resolvePending(line, [], { own: { ...options, ...ADMIN_FLAGS } })
  const sources = { given, pending, env, cwd, redactor, secrets: createSecretReader(process.stdin) }
  const flags = await readOptions(ADMIN_FLAGS, sources, outer.signal)
  const own = await readOptions(options, sources, outer.signal)
  const call: Call = { signal: outer.signal, log: program.log(readLevel(flags.values.logLevel)) }
  for (const warning of [...flags.warnings, ...own.warnings]) call.log.warn(warning)
  let found: Promise<Place> | undefined
  const place = () => (found ??= findPlace(flags, program))
  return {
    words: wordsOf(definition.words ?? [], resolved.words),
    values: own.values as Values<O>,
    flags: flags.values,
    program,
    call,
    place,
    async ask(route, input) {
      const { ROUTES } = await import('@postern/admin')
      const reads = ROUTES[route].method === 'GET' // a change is not left half-way at the first Ctrl-C: its secret would be lost
      const signal = reads ? program.stop.gently : call.signal
      return (await place()).client.call(route, input, { ...call, signal })
    },
    say: text => program.json || terminal.show(text),
    print: (value, text) => program.print(program.json ? jsonLine(value) : text),
  }
}

function wordsOf<W extends string>(wanted: readonly W[], given: readonly string[]): Readonly<Record<W, string>> {
  if (given.length < wanted.length)
    throw new PosternError('BAD_USAGE', `${wanted.slice(given.length).join(' and ')} is missing`)
  if (given.length > wanted.length)
    throw new PosternError('BAD_USAGE', `nothing is done with ${JSON.stringify(safe(given[wanted.length] ?? ''))}`)
  return Object.fromEntries(wanted.map((name, at) => [name, given[at]])) as Record<W, string>
}

function help<W extends string, O extends HostOptionSpecs, R>(
  { summary, words = [], options, example }: Definition<W, O, R>,
  path: readonly string[],
): string {
  return renderHelp({
    usage: [...path, ...words, '[options]'].join(' '),
    summary: `${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`,
    sections: [
      { title: 'Options', specs: options ?? {} },
      { title: 'Which edge, and as whom', specs: ADMIN_FLAGS },
    ],
    examples: [example],
  })
}
