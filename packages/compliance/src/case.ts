import type { Call } from '@postern/interface'
import { recordingLog } from './recording.ts'

/** One property of the contract. It can be run by any test framework, or by none. */
export interface Case {
  /** Stable: a plugin author looks it up in the README's table. */
  readonly name: string
  /** Milliseconds until it has failed, whatever it waits for. */
  readonly deadline: number
  /** Rejects when the property does not hold. `call` aborts at the deadline. */
  run(call: Call): Promise<void>
}

/** What the kit needs of a test framework: vitest's and node:test's own `describe` and `it` fit. */
export interface Framework {
  readonly describe: (name: string, body: () => void) => unknown
  readonly it: (name: string, options: { readonly timeout: number }, body: () => Promise<void>) => unknown
}

/** Longer than the slowest case takes on a slow and busy machine: it tells "hangs" from "works", nothing finer. */
const DEADLINE = 20_000

/** The framework's own timeout comes after the case's, so that a hang is reported by the case's name and words. */
const GRACE = 5_000

export function testCase(name: string, run: (call: Call) => Promise<void>, deadline: number = DEADLINE): Case {
  return { name, deadline, run }
}

/** The engines field says it, too, but npm only warns of it. */
const LEAST_NODE = 24

/** Registers cases with a test framework. */
export function register(framework: Framework, title: string, cases: readonly Case[]): void {
  if (Number.parseInt(process.versions.node, 10) < LEAST_NODE)
    throw new Error(`The compliance kit needs Node.js ${LEAST_NODE} or newer; this is ${process.versions.node}`)
  framework.describe(title, () => {
    for (const each of cases) framework.it(each.name, { timeout: each.deadline + GRACE }, () => runCase(each))
  })
}

/**
 * Runs one case under its own deadline. An error that nobody caught while it ran fails it too: a plugin that forgets an
 * `error` listener would end the whole process.
 */
export async function runCase(testCase: Case): Promise<void> {
  const ending = new AbortController()
  const { promise: failed, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => {
    const error = new Error(`"${testCase.name}" was not done after ${testCase.deadline} ms: something hangs`)
    reject(error)
    ending.abort(error)
  }, testCase.deadline)
  const uncaught = (error: unknown): void =>
    reject(new Error(`"${testCase.name}": an error that nobody caught`, { cause: error }))
  process.on('uncaughtException', uncaught)
  process.on('unhandledRejection', uncaught)
  try {
    await Promise.race([testCase.run({ signal: ending.signal, log: recordingLog() }), failed])
    // What a case broke may surface one turn later.
    await Promise.race([new Promise(resolve => setImmediate(resolve)), failed])
  } finally {
    clearTimeout(timer)
    process.off('uncaughtException', uncaught)
    process.off('unhandledRejection', uncaught)
  }
}
