import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { find, PEERS } from '../../scripts/peers.mjs'
import { ENVIRONMENT } from '../processes.ts'

const run = promisify(execFile)
/** Milliseconds beside the time that it measures. */
const START_TIME = 10_000
/** Seconds: where nothing was answered in the time, as when a machine is busy with something else, it is tried for longer. */
const LONGEST = 16

export interface Asked {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  /** Kept open, each with one request at a time. */
  readonly connections: number
  readonly seconds: number
}

export interface Answered {
  readonly requests: number
  /** Requests a second. */
  readonly rate: number
  /** Milliseconds; of a hundred answers one took longer. */
  readonly p99: number
}

/** @throws with the command that brings it */
export function requireWrk(): string {
  const wrk = find('wrk')
  if (wrk !== undefined) return wrk
  throw new Error(`the load is made by wrk, and it is not here: apt-get install ${PEERS.wrk?.package}`)
}

/** Loads a URL. @throws when an answer was no 2xx, or there was none */
export async function load(asked: Asked): Promise<Answered> {
  const { url, headers, connections, seconds } = asked
  const named = Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`])
  const flags = ['--threads', '1', '--connections', String(connections), '--duration', `${seconds}s`, '--latency']
  const { stdout } = await run(requireWrk(), [...flags, ...named, url], {
    env: ENVIRONMENT,
    timeout: seconds * 1000 + START_TIME,
  })
  if (/^\s+0 requests in /m.test(stdout) && seconds < LONGEST) return load({ ...asked, seconds: seconds * 2 })
  return readReport(stdout)
}

const UNITS: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000, m: 60_000 }

/** What wrk prints. @throws when it is not what was hoped for */
export function readReport(text: string): Answered {
  const bad = /Non-2xx or 3xx responses: \d+|Socket errors: .*/.exec(text)?.[0]
  if (bad !== undefined) throw new Error(`wrk: ${bad}`)
  const [, amount = '', unit = ''] = /^\s+99%\s+([\d.]+)(us|ms|s|m)\s*$/m.exec(text) ?? []
  const [requests, rate] = [/(\d+) requests in/, /Requests\/sec:\s+([\d.]+)/].map(what => Number(what.exec(text)?.[1]))
  const p99 = Number(amount) * (UNITS[unit] ?? Number.NaN)
  if (!requests || !rate || Number.isNaN(p99)) throw new Error(`wrk printed something else: ${text}`)
  return { requests, rate, p99 }
}
