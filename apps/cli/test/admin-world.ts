import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { initialiseEdge, type RunningEdge, startEdge } from '@postern/edge'
import type { Call } from '@postern/interface'

const script = join(import.meta.dirname, '../bin/postern.js')
const log = { debug() {}, info() {}, warn() {}, error() {} }
const call: Call = { signal: new AbortController().signal, log }

export interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface How {
  readonly input?: string
  readonly env?: NodeJS.ProcessEnv
}

/** A real edge on a free port, and people who each have a home of their own. */
export interface AdminWorld extends AsyncDisposable {
  readonly folder: string
  readonly edge: RunningEdge
  readonly url: string
  readonly ca: string
  readonly setupTokenFile: string
  /** `postern …` on the edge's machine: over its socket. */
  local(args: readonly string[], how?: How): Promise<Ran>
  /** `postern …` as somebody, with what that one has remembered and nothing else. */
  as(who: string, args: readonly string[], how?: How): Promise<Ran>
}

export async function startAdminWorld(): Promise<AdminWorld> {
  const folder = mkdtempSync(join(tmpdir(), 'postern-admin-'))
  chmodSync(folder, 0o700)
  const data = join(folder, 'edge')
  const { caFile } = await initialiseEdge(
    { data, hostname: 'db.localhost', tunnel: 'home', teamDomain: 'edge.localhost' },
    call,
  )
  const edge = await startEdge({ data, listen: { port: 0 }, grace: 500, setupToken: true }, call)
  const as: AdminWorld['as'] = (who, args, { input, env } = {}) =>
    run(args, { ...(input !== undefined && { input }), env: { POSTERN_HOME: join(folder, who), ...env } })
  return {
    folder,
    edge,
    url: `https://edge.localhost:${edge.port}`,
    ca: caFile,
    setupTokenFile: edge.setupTokenFile ?? '',
    as,
    local: (args, how = {}) => as('local', args, { ...how, env: { POSTERN_EDGE_DATA: data, ...how.env } }),
    async [Symbol.asyncDispose]() {
      await edge.close()
      rmSync(folder, { recursive: true })
    },
  }
}

/** Runs `postern` to its end, without a terminal and with nothing of this machine's settings. */
export async function run(args: readonly string[], { input, env }: How): Promise<Ran> {
  const child = spawn(process.execPath, [script, ...args], {
    env: { PATH: process.env.PATH, ...env },
    cwd: import.meta.dirname,
    detached: true, // a session of its own: no terminal to ask at
    timeout: 20_000,
  })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', chunk => (stdout += chunk))
  child.stderr.on('data', chunk => (stderr += chunk))
  child.stdin.on('error', () => {}).end(input ?? '')
  const [code] = await once(child, 'close')
  return { code, stdout, stderr }
}

/** What was printed, which must be one JSON value and nothing besides. */
export function json<T = Record<string, unknown>>({ code, stdout, stderr }: Ran): T {
  if (code !== 0) throw new Error(`exit ${code}: ${stderr}`)
  return JSON.parse(stdout) as T
}

/** The error as `--json` prints it. */
export function failure({ stderr }: Ran): { code: string; message: string; next: string; requestId?: string } {
  return JSON.parse(stderr.trim().split('\n').at(-1) ?? '').error
}
