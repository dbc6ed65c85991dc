import { isUtf8 } from 'node:buffer'
import { addAbortSignal } from 'node:stream'
import { type Access, mistakesIn } from '@postern/admin'
import { type Call, PosternError } from '@postern/interface'
import { type ConfigFile, type Program, parseConfigText, readConfigFile, terminal } from '@postern/program'
import type { z } from 'zod'
import { safe } from './show.ts'

const LARGEST = 1024 * 1024
const NEXT = 'Correct what was named; nothing was changed.'

/** A document that the schema takes, and where its members stand. */
export interface Read<V> {
  readonly value: V
  where(at: readonly (string | number)[]): string
}

/**
 * Reads a YAML or JSON document, `-` from stdin, and checks its shape. All its mistakes are told at once, each with its place.
 *
 * @throws PosternError CONFIG_INVALID, FILE_UNSAFE, FILE_UNREADABLE
 */
export async function readDocument<S extends z.ZodType>(
  file: string,
  schema: S,
  program: Program,
  call: Call,
): Promise<Read<z.input<S>>> {
  const document = file === '-' ? await parseConfigText('stdin', await readStdin(call)) : await readConfigFile(file)
  const told = mistakesIn(schema, document.value).map(({ path, message }) => {
    const name = path.reduce<string>((text, step) => text + (typeof step === 'number' ? `[${step}]` : `.${step}`), '')
    return safe(`${document.where(path)}: ${name.replace(/^\./, '') || 'the document'} ${message}`)
  })
  if (told.length === 0) return { value: document.value as z.input<S>, where: at => document.where(at) }
  throw invalid(document, told, program)
}

/**
 * What the edge refused, with its place where it names one: `applications[1]: …`, or
 * `db.example.com: rules[0].include[1]: …` of an application.
 */
export function placed(error: unknown, { value, where }: Read<Access>): unknown {
  if (!PosternError.is(error) || error.speaker !== 'edge') return error
  const [, kind, index, hostname, inside = ''] = REFUSAL.exec(error.message) ?? []
  const at = kind === undefined ? value.applications?.findIndex(one => one.hostname === hostname) : Number(index)
  if (at === undefined || at < 0) return error
  const rule = /^rule (\d+)$/.exec(inside)?.[1]
  const steps = rule === undefined ? inside.match(/\w+/g)?.map(stepOf) : ['rules', Number(rule) - 1]
  const { requestId, code, speaker } = error
  return new PosternError(code, safe(`${where([kind ?? 'applications', at, ...(steps ?? [])])}: ${error.message}`), {
    cause: error,
    speaker,
    next: NEXT,
    ...(requestId !== undefined && { requestId }),
  })
}

const REFUSAL =
  /^(?:(tunnels|serviceTokens|groups|applications)\[(\d+)\]|([\w.-]+))(?:: (rule \d+|rules[\w.[\]]*|selectors[\w.[\]]*|options[\w.[\]]*))?: /
const stepOf = (word: string) => (/^\d+$/.test(word) ? Number(word) : word)

/** For people a line each, as compilers and editors have it; for programs all in the one error. */
function invalid({ path }: ConfigFile, told: readonly string[], program: Program): PosternError {
  if (program.json) return new PosternError('CONFIG_INVALID', told.join('; '), { next: NEXT })
  for (const line of told) terminal.show(line)
  return new PosternError(
    'CONFIG_INVALID',
    `${path} has ${told.length === 1 ? 'a mistake' : `${told.length} mistakes`}`,
    { next: NEXT },
  )
}

async function readStdin({ signal }: Call): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of addAbortSignal(signal, process.stdin)) {
    chunks.push(Buffer.from(chunk))
    length += chunk.length
    if (length > LARGEST) throw new PosternError('CONFIG_INVALID', 'stdin has more than 1 MiB')
  }
  const bytes = Buffer.concat(chunks)
  if (!isUtf8(bytes)) throw new PosternError('CONFIG_INVALID', 'stdin is not UTF-8 text')
  return bytes.toString()
}
