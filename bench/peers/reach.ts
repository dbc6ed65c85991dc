import { spawn } from 'node:child_process'
import { performance } from 'node:perf_hooks'
import { ENVIRONMENT } from '../processes.ts'
import type { Peer } from './peer.ts'

const DEADLINE = 20_000

/** Milliseconds from the start of a command to the first byte of the service on its stdout; undefined where none came. */
export async function startToFirstByte({
  words: [program, ...args],
  env,
}: NonNullable<Peer['command']>): Promise<{ readonly took?: number; readonly stderr: string }> {
  const began = performance.now()
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...ENVIRONMENT, ...env } })
  const gone = new Promise<void>(resolve => child.once('close', () => resolve()).once('error', () => resolve()))
  const late = setTimeout(() => child.kill('SIGKILL'), DEADLINE)
  let took: number | undefined
  let stderr = ''
  child.stdin.on('error', () => {})
  child.stderr.on('data', chunk => {
    stderr = (stderr + chunk).slice(-2000)
  })
  child.stdout.once('data', () => {
    took = performance.now() - began
    child.stdin.end()
    child.kill('SIGTERM')
  })
  await gone
  clearTimeout(late)
  return took === undefined ? { stderr } : { took, stderr }
}
