import { readHostname } from '@postern/client/hostname'
import { type Call, PosternError } from '@postern/interface'
import {
  createSecretReader,
  type HostOptionSpecs,
  parseCommandLine,
  readOptions,
  renderHelp,
  resolvePending,
} from '@postern/options'
import { jsonLineOf, PROGRAM_FLAGS, type Program } from '@postern/program'
import { PLACE_FLAGS } from './flags.ts'
import { filePins, readPin } from './pins.ts'

const FLAGS = {
  hostname: PLACE_FLAGS.hostname,
  set: { type: 'string', summary: 'pin this key: sha256:…, as the tunnel’s administrator says it' },
  forget: {
    type: 'boolean',
    default: false,
    summary: 'pin none: the next connection takes the edge’s word, and may go through it',
  },
  ...PROGRAM_FLAGS,
} as const satisfies HostOptionSpecs

/** `postern access pin`: the key by which an application's tunnel is known here. */
export async function pin(argv: readonly string[], program: Program, { signal }: Call): Promise<void> {
  const line = parseCommandLine(argv, FLAGS)
  if (line.given.some(one => one.option === 'help')) return program.print(help())
  const { words } = resolvePending(line, [], { own: FLAGS })
  if (words.length > 0) throw new PosternError('BAD_USAGE', `nothing is done with ${JSON.stringify(words[0])}`)
  const { env, cwd, redactor } = program
  const sources = { given: line.given, env, cwd, redactor, secrets: createSecretReader(undefined) }
  const { values } = await readOptions(FLAGS, sources, signal)
  const { hostname } = readHostname(values.hostname)
  const pins = filePins(program)
  if (values.set !== undefined && values.forget)
    throw new PosternError('OPTION_CONFLICT', '--set pins a key, --forget none: leave one of them out')
  if (values.set !== undefined) await pins.keep(hostname, readPin(values.set, '--set'))
  if (values.forget) await pins.forget(hostname)
  const fingerprint = await pins.get(hostname)
  if (program.json) return program.print(jsonLineOf({ hostname, fingerprint: fingerprint ?? null }))
  program.print(fingerprint === undefined ? `${hostname}: no key is pinned\n` : `${hostname} ${fingerprint}\n`)
}

function help(): string {
  return renderHelp({
    usage: 'postern access pin --hostname HOST [--set FINGERPRINT | --forget] [options]',
    summary:
      'The key by which an application’s tunnel is known here. A pinned application is reached end-to-end or not at all.',
    sections: [{ title: 'Options', specs: FLAGS }],
    examples: [
      'postern access pin --hostname ssh.example.com',
      'postern access pin --hostname ssh.example.com --forget',
    ],
  })
}
