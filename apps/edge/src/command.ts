import { type Call, PosternError } from '@postern/interface'
import {
  createSecretReader,
  type HostOptionSpecs,
  parseCommandLine,
  readOptions,
  resolvePending,
  type Values,
} from '@postern/options'
import type { Program } from '@postern/program'

export const DATA = {
  data: { type: 'path', required: true, summary: 'the folder of the edge’s state', env: ['POSTERN_EDGE_DATA'] },
} as const satisfies HostOptionSpecs

/** What a command was told, by flags and environment. @throws PosternError BAD_USAGE, OPTION_* */
export async function readSettings<O extends HostOptionSpecs>(
  specs: O,
  argv: readonly string[],
  program: Program,
  call: Call,
): Promise<Values<O>> {
  const line = parseCommandLine(argv, specs)
  const { words } = resolvePending(line, [], { own: specs, ownersOf: () => [], sides: ['edge'] })
  if (words.length > 0) throw new PosternError('BAD_USAGE', `nothing is done with ${JSON.stringify(words[0])}`)
  const { env, cwd, redactor } = program
  const sources = {
    given: line.given,
    pending: line.pending,
    env,
    cwd,
    redactor,
    secrets: createSecretReader(undefined),
  }
  return (await readOptions(specs, sources, call.signal)).values
}
