import { type Call, PosternError } from '@postern/interface'
import {
  createSecretReader,
  type HostOptionSpecs,
  parseCommandLine,
  readOptions,
  renderHelp,
  resolvePending,
  type Values,
} from '@postern/options'
import { PROGRAM_FLAGS, type Program } from '@postern/program'

export interface Page {
  readonly usage: string
  readonly summary: string
  readonly examples: readonly string[]
}

/** What ends a command of plugins, beside what ends any: for its help. */
export const EXITS = `Exit status:
  0   done, or done already
  2   the command is wrong: no exact version, for example
  5   the plugin folder is open to others, or cannot be written
  50  a plugin is not what was added, or not what its integrity says
  51  npm is missing, or could not install it
  52  the package holds what no plugin may: links, paths that leave it, install scripts
  60  there is no such plugin
  61  the package is no Postern plugin; 62: it is one for another version
`

/** A command line read. @returns undefined when help was all that was wanted; it is printed @throws PosternError BAD_USAGE, OPTION_* */
export async function readCommand<O extends HostOptionSpecs>(
  page: Page,
  own: O,
  argv: readonly string[],
  { env, cwd, redactor, print }: Program,
  { signal }: Call,
): Promise<{ readonly values: Values<O & typeof PROGRAM_FLAGS>; readonly words: readonly string[] } | undefined> {
  const specs = { ...own, ...PROGRAM_FLAGS }
  const line = parseCommandLine(argv, specs)
  if (line.given.some(one => one.option === 'help')) {
    print(`${renderHelp({ ...page, sections: [{ title: 'Options', specs }] })}\n${EXITS}`)
    return undefined
  }
  const { words } = resolvePending(line, [], { own: specs })
  const sources = {
    given: line.given,
    pending: line.pending,
    env,
    cwd,
    redactor,
    secrets: createSecretReader(undefined),
  }
  const { values } = await readOptions(specs, sources, signal)
  return { values, words }
}

/** The one word of a command. @throws PosternError BAD_USAGE */
export function onlyWord([word, ...more]: readonly string[], what: string): string {
  if (word !== undefined && more.length === 0) return word
  throw new PosternError('BAD_USAGE', `${what} is wanted, and nothing else`)
}
