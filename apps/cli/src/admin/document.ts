import { addAbortSignal } from 'node:stream'
import { mistakesIn } from '@postern/admin'
import { type Call, PosternError } from '@postern/interface'
import { type ConfigFile, type Program, parseConfigText, readConfigFile, terminal } from '@postern/program'
import type { z } from 'zod'
import { safe } from './show.ts'

const LARGEST = 1024 * 1024

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

/** For people a line each, as compilers and editors have it; for programs all in the one error. */
function invalid({ path }: ConfigFile, told: readonly string[], program: Program): PosternError {
  const next = 'Correct what was named; nothing was changed.'
  if (program.json) return new PosternError('CONFIG_INVALID', told.join('; '), { next })
  for (const line of told) terminal.show(line)
  return new PosternError(
    'CONFIG_INVALID',
    `${path} has ${told.length === 1 ? 'a mistake' : `${told.length} mistakes`}`,
    {
      next,
    },
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
  return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks))
}
