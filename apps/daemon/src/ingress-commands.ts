import { readHostname } from '@postern/client'
import { type Call, PosternError } from '@postern/interface'
import { type HostOptionSpecs, parseCommandLine, renderHelp, resolvePending } from '@postern/options'
import { PLUGIN_FLAGS, PROGRAM_FLAGS, type Program } from '@postern/program'
import { createRegistry } from '@postern/registry'
import { builtins } from './builtin.ts'
import { CONFIG_FLAGS } from './flags.ts'
import { showTarget } from './ingress.ts'
import { type FileRule, ruleFor } from './ingress-file.ts'
import { segmentsOf, showPattern } from './pattern.ts'
import { type Examined, SettingsReader } from './settings.ts'

const FLAGS = {
  ...CONFIG_FLAGS,
  plugin: PLUGIN_FLAGS.plugin,
  json: PROGRAM_FLAGS.json,
  help: PROGRAM_FLAGS.help,
} as const satisfies HostOptionSpecs

/** What begins as HTTP, so that it has a path. */
const WEB: readonly string[] = ['http:', 'https:', 'ws:', 'wss:']

/** `posternd ingress validate --config FILE`: every mistake is a line. @throws PosternError CONFIG_INVALID when there is one */
export async function validateCommand(argv: readonly string[], program: Program, call: Call): Promise<void> {
  const asked = await examine(argv, 0, 'posternd ingress validate --config FILE', program, call)
  if (!asked) return
  const { path, rules, found, warnings } = asked
  const mistakes = found.mistakes.list
  if (program.json)
    program.print(`${JSON.stringify({ valid: mistakes.length === 0, mistakes, warnings, rules: rules.length })}\n`)
  else for (const mistake of mistakes) program.print(`${mistake}\n`)
  if (mistakes.length > 0) {
    const count = mistakes.length === 1 ? 'a mistake' : `${mistakes.length} mistakes`
    throw new PosternError('CONFIG_INVALID', `${path} has ${count}`, { next: 'Correct them; nothing was changed.' })
  }
  if (program.json) return
  for (const rule of rules)
    program.print(`${rule.number}. ${showPattern(rule)} → ${showTarget(rule.service)}${showOptions(rule)}\n`)
  for (const warning of warnings) program.print(`warning: ${warning}\n`)
  program.print(`${path} is valid\n`)
}

/** `posternd ingress rule --config FILE URL`. @throws PosternError CONFIG_INVALID; INGRESS_NOT_FOUND when no rule answers */
export async function ruleCommand(argv: readonly string[], program: Program, call: Call): Promise<void> {
  const asked = await examine(argv, 1, 'posternd ingress rule --config FILE URL', program, call)
  if (!asked) return
  const { path, rules, found } = asked
  found.mistakes.throwIfAny()
  const url = readUrl(asked.words[0] ?? '')
  const { hostname } = readHostname(url.hostname)
  const segments = segmentsOf(url.path)
  if (!segments)
    throw new PosternError('BAD_USAGE', 'servers read this path in more ways than one, so no rule answers it', {
      next: 'Write it without %2F, %5C, \\ and dot segments.',
    })
  // Only HTTP has paths: bytes are answered by the rules for bytes, whatever the path.
  const purpose =
    url.protocol === undefined ? undefined : WEB.includes(url.protocol) ? ('http' as const) : ('tcp' as const)
  const rule = ruleFor(rules, purpose, hostname, purpose === 'tcp' ? [] : segments)
  if (!rule) throw new PosternError('INGRESS_NOT_FOUND', `no rule of ${path} answers ${hostname}${url.path}`)
  program.print(program.json ? `${JSON.stringify(factsOf(rule))}\n` : told(rule))
}

function told(rule: FileRule): string {
  const why = rule.number === 1 ? 'it is the first' : 'the first one that its hostname and path match'
  const answer = `${showPattern(rule)} → ${showTarget(rule.service)}${showOptions(rule)} (rule ${rule.number})`
  return `${answer}\n  ${rule.where}: ${why}\n`
}

/** As they were written: without defaults. */
function showOptions({ said = {} }: FileRule): string {
  const words = Object.entries(said).map(
    ([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  )
  return words.length > 0 ? ` [${words.join(', ')}]` : ''
}

function factsOf(rule: FileRule) {
  const { number, hostname, segments, where, service, said: options, purposes } = rule
  const path = segments.length > 0 ? `/${segments.join('/')}/*` : undefined
  return { rule: number, hostname: hostname ?? '*', path, service: showTarget(service), options, purposes, where }
}

interface Asked extends Examined {
  readonly path: string
  readonly words: readonly string[]
}

/** @returns undefined when help was all that was wanted */
async function examine(
  argv: readonly string[],
  words: number,
  usage: string,
  program: Program,
  call: Call,
): Promise<Asked | undefined> {
  const line = parseCommandLine(argv, FLAGS)
  if (line.given.some(one => one.option === 'help')) {
    const summary = 'Looks at the ingress rules of a config file; nothing is served.'
    program.print(renderHelp({ usage, summary, sections: [{ title: 'Options', specs: FLAGS }] }))
    return undefined
  }
  const { words: found } = resolvePending(line, [], { own: FLAGS })
  if (found.length !== words)
    throw new PosternError(
      'BAD_USAGE',
      words === 0 ? `nothing is done with ${JSON.stringify(found[0])}` : 'one URL is needed',
      {
        next: `Usage: ${usage}`,
      },
    )
  const reader = new SettingsReader(line, createRegistry(builtins), program)
  const path = await reader.configPath(call)
  return { path, words: found, ...(await reader.examine(path, call)) }
}

interface Address {
  /** Absent where none was written: whatever answers is meant. */
  readonly protocol: string | undefined
  readonly hostname: string
  /** As it was written. */
  readonly path: string
}

/** @throws PosternError BAD_USAGE */
function readUrl(text: string): Address {
  const hasScheme = /^[a-z][a-z\d+.-]*:\/\//i.test(text)
  const whole = hasScheme ? text : `https://${text}`
  const path = /:\/\/[^/?#\\]+([^?#]*)/.exec(whole)?.[1]
  const url = URL.parse(whole)
  if (url?.hostname && path !== undefined)
    return { protocol: hasScheme ? url.protocol : undefined, hostname: url.hostname, path }
  throw new PosternError(
    'BAD_USAGE',
    `${JSON.stringify(text.slice(0, 100))} is not a URL such as https://app.example.com/api`,
  )
}
