import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

const script = join(import.meta.dirname, '../bin/postern.js')

/** An edge that takes connections and says nothing. */
let silent: Server
beforeEach(async () => {
  silent = createServer(socket => socket.on('error', () => {})).listen(0, '127.0.0.1')
  await once(silent, 'listening')
})
afterEach(() => silent.close())

/** Sends the signal once, as soon as the edge is dialled. stdin stays open: a program that waits for its end waits for ever. */
async function stopped(place: readonly string[], signal: NodeJS.Signals): Promise<unknown> {
  const { port } = silent.address() as { port: number }
  const args = ['access', 'tcp', ...place, '--id', 'pst_1', '--edge', `http://localhost:${port}`]
  const child = spawn(process.execPath, [script, ...args], {
    env: { PATH: process.env.PATH, POSTERN_HOME: '/nonexistent', POSTERN_SERVICE_TOKEN_SECRET: 'secret' },
    stdio: ['pipe', 'ignore', 'inherit'],
  })
  const closed = once(child, 'close')
  const late = setTimeout(() => child.kill('SIGKILL'), 6_000) // before it gives the edge up, after 10 s
  try {
    await Promise.race([once(silent, 'connection'), closed])
    child.kill(signal)
    const [code, by] = await closed
    return code ?? by
  } finally {
    clearTimeout(late)
  }
}

describe('one signal', () => {
  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('ends what is a pipe for a local program: %s', async (signal, status) => {
    expect(await stopped(['--hostname', 'a.localhost'], signal)).toBe(status)
  })

  it('ends a forward that is still signing in', async () => {
    expect(await stopped(['-L', '0:a.localhost'], 'SIGINT')).toBe(130)
  })
})
