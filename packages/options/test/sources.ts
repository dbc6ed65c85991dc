import { Readable } from 'node:stream'
import { createRedactor, createSecretReader, type Given, type Sources } from '../src/index.ts'

/** Sources that say nothing, with some of them replaced. */
export function sources(replaced: Partial<Sources> = {}): Sources {
  return {
    given: [],
    env: {},
    cwd: '/home/me',
    secrets: createSecretReader(undefined),
    redactor: createRedactor(),
    ...replaced,
  }
}

export function flag(option: string, value: string, form: Given['form'] = 'value'): Given {
  return { option, flag: `--${option}${form === 'file' ? '-file' : ''}`, form, value }
}

export function stdin(...chunks: string[]): Readable {
  return Readable.from(chunks.map(chunk => Buffer.from(chunk)))
}

export const never: AbortSignal = new AbortController().signal

/** What a promise rejects with. */
export async function rejected(work: Promise<unknown>): Promise<{ code: string; message: string; next: string }> {
  return work.then(
    value => Promise.reject(new Error(`was not refused: ${JSON.stringify(value)}`)),
    error => error,
  )
}
