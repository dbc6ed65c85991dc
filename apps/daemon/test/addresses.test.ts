import { spawn } from 'node:child_process'
import dns, { type LookupOptions } from 'node:dns'
import { once } from 'node:events'
import { syncBuiltinESMExports } from 'node:module'
import { connect, type Socket } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import type { Call } from '@postern/interface'
import { afterEach, expect, it } from 'vitest'
import { reach } from '../src/reach.ts'

const call: Call = { signal: AbortSignal.timeout(60_000), log: { debug() {}, info() {}, warn() {}, error() {} } }
const SERVICE = `const server = require('node:net').createServer(socket => socket.end('here'))
server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => console.log(server.address().port))`

const real = dns.lookup
const owned: Disposable[] = []
afterEach(() => {
  dns.lookup = real
  syncBuiltinESMExports()
  for (const one of owned.splice(0)) one[Symbol.dispose]()
})

/** What the resolver says of every name from now on. */
function resolveTo(...addresses: readonly string[]): void {
  const found = addresses.map(address => ({ address, family: 4 }))
  const lookup = (_name: string, _options: LookupOptions, done: (error: null, found: object[]) => void) =>
    setImmediate(done, null, found)
  dns.lookup = lookup as unknown as typeof dns.lookup
  syncBuiltinESMExports()
}

// Linux drops a SYN where as many wait as the service lets wait, and its sender tries again after a second.
it.skipIf(process.platform !== 'linux')(
  'a service that takes a second to answer is reached, though its name has another address at which nothing is',
  async () => {
    const child = spawn(process.execPath, ['-e', SERVICE], { stdio: ['ignore', 'pipe', 'inherit'] })
    owned.push({ [Symbol.dispose]: () => void child.kill('SIGKILL') })
    const port = Number(String(await once(child.stdout, 'data')))
    child.kill('SIGSTOP')
    const waiting: Socket[] = []
    owned.push({ [Symbol.dispose]: () => waiting.forEach(socket => void socket.destroy()) })
    for (let isFull = false; !isFull && waiting.length < 16; ) {
      const socket = connect(port, '127.0.0.1').on('error', () => {})
      waiting.push(socket)
      isFull = await Promise.race([once(socket, 'connect').then(() => false), wait(200, true)])
    }
    expect(waiting.length).toBeLessThan(16)
    resolveTo('127.0.0.1', '127.0.0.2')
    const reaching = reach(new URL(`tcp://service.example.com:${port}`), undefined, call)
    await wait(500)
    child.kill('SIGCONT')
    let text = ''
    for await (const chunk of await reaching) text += chunk
    expect(text).toBe('here')
  },
)

it('a service at one of two addresses is reached, and where it is at neither the first one’s refusal is told', async () => {
  const child = spawn(process.execPath, ['-e', SERVICE], { stdio: ['ignore', 'pipe', 'inherit'] })
  owned.push({ [Symbol.dispose]: () => void child.kill('SIGKILL') })
  const port = Number(String(await once(child.stdout, 'data')))
  const service = new URL(`tcp://service.example.com:${port}`)
  resolveTo('127.0.0.3', '127.0.0.1')
  const socket = await reach(service, undefined, call)
  expect(socket.remoteAddress).toBe('127.0.0.1')
  socket.destroy()
  resolveTo('127.0.0.3', '127.0.0.2')
  await expect(reach(service, undefined, call)).rejects.toMatchObject({ code: 'ORIGIN_REFUSED', speaker: 'service' })
})
