import { spawn } from 'node:child_process'
import { connect } from 'node:net'
import { performance } from 'node:perf_hooks'
import { ENVIRONMENT } from '../processes.ts'

const DEADLINE = 20_000

/** Whether a local port leads to the service: it greets whoever comes. */
export function reachable(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ port, host: '127.0.0.1' })
    socket.setTimeout(DEADLINE, () => socket.destroy())
    socket.once('data', () => {
      resolve(true)
      socket.destroy()
    })
    socket.on('error', () => {}).once('close', () => resolve(false))
  })
}

/** Milliseconds from the start of a command to the first byte of the service on its stdout; undefined where none came. */
export async function startToFirstByte([program, ...args]: readonly [string, ...string[]]): Promise<
  number | undefined
> {
  const began = performance.now()
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'ignore'], env: ENVIRONMENT })
  const gone = new Promise<void>(resolve => child.once('close', () => resolve()).once('error', () => resolve()))
  const late = setTimeout(() => child.kill('SIGKILL'), DEADLINE)
  let took: number | undefined
  child.stdin.on('error', () => {})
  child.stdout.once('data', () => {
    took = performance.now() - began
    child.stdin.end()
    child.kill('SIGTERM')
  })
  await gone
  clearTimeout(late)
  return took
}
