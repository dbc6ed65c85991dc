import { get } from 'node:http'
import { type Call, PosternError } from '@postern/interface'
import {
  createSecretReader,
  type HostOptionSpecs,
  parseCommandLine,
  readOptions,
  renderHelp,
  resolvePending,
} from '@postern/options'
import { PROGRAM_FLAGS, type Program } from '@postern/program'
import type { DaemonCommand } from './commands.ts'
import { RUN_FLAGS } from './flags.ts'
import { readHealthAddress } from './health.ts'

/** Milliseconds: it is asked on the same machine. */
const PATIENCE = 3_000
const LONGEST_ANSWER = 4_096

export const READY_FLAGS = {
  metrics: {
    type: 'string',
    required: true,
    summary: 'where that posternd was told to answer, for example 127.0.0.1:20241',
    env: RUN_FLAGS.metrics.env,
  },
  json: PROGRAM_FLAGS.json,
  help: PROGRAM_FLAGS.help,
} as const satisfies HostOptionSpecs

/** `posternd ready`: the health check of a container. @throws PosternError TUNNEL_OFFLINE: not ready, or not there */
export async function ready(
  argv: readonly string[],
  program: Program,
  call: Call,
  { summary, examples = [] }: DaemonCommand,
): Promise<void> {
  const line = parseCommandLine(argv, READY_FLAGS)
  if (line.given.some(one => one.option === 'help')) {
    const usage = 'posternd ready --metrics ADDRESS:PORT'
    return program.print(renderHelp({ usage, summary, sections: [{ title: 'Options', specs: READY_FLAGS }], examples }))
  }
  const { words } = resolvePending(line, [], { own: READY_FLAGS })
  if (words.length > 0) throw new PosternError('BAD_USAGE', `nothing is done with ${JSON.stringify(words[0])}`)
  const { env, cwd, redactor } = program
  const sources = { given: line.given, env, cwd, redactor, secrets: createSecretReader(undefined) }
  const { values } = await readOptions(READY_FLAGS, sources, call.signal)
  const readiness = await askReady(values.metrics, call)
  const { readyConnections } = readiness
  if (program.json) program.print(`${JSON.stringify(readiness)}\n`)
  else
    program.print(`ready: ${readyConnections} ${readyConnections === 1 ? 'connection' : 'connections'} to the edge\n`)
}

interface Readiness {
  readonly readyConnections: number
  readonly connectorId: string
}

async function askReady(where: string, call: Call): Promise<Readiness> {
  const { host, port } = readHealthAddress(where)
  const signal = AbortSignal.any([call.signal, AbortSignal.timeout(PATIENCE)])
  const answer = await ask(host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host, port, signal).catch(
    cause => {
      call.signal.throwIfAborted()
      const next = 'Start it with --metrics, or name the address that it was started with.'
      throw new PosternError('TUNNEL_OFFLINE', `no posternd answers at ${where}`, { cause, next })
    },
  )
  if (answer.status !== 200)
    throw new PosternError(
      'TUNNEL_OFFLINE',
      `the posternd at ${where} has no connection to the edge that takes streams`,
      {
        next: 'See why in its log.',
      },
    )
  const { readyConnections, connectorId } = answer.body as Partial<Readiness>
  return { readyConnections: Number(readyConnections), connectorId: String(connectorId) }
}

async function ask(host: string, port: number, signal: AbortSignal): Promise<{ status: number; body: object }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; body: object }>()
  // No agent: no connection is kept, and no proxy is asked the way to this machine.
  get({ host, port, path: '/ready', agent: false, signal }, async response => {
    try {
      let text = ''
      for await (const chunk of response.setEncoding('utf8')) {
        text += chunk
        if (text.length > LONGEST_ANSWER) throw new Error('that answer is not posternd’s')
      }
      const body: unknown = JSON.parse(text)
      if (typeof body !== 'object' || body === null) throw new Error('that answer is not posternd’s')
      resolve({ status: response.statusCode ?? 0, body })
    } catch (error) {
      reject(error)
    }
  }).on('error', reject)
  return promise
}
