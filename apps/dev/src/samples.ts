import { type AddressInfo, createServer, type Socket } from 'node:net'
import type { SshKeys } from './ssh-keys.ts'
import { startSsh2Server } from './ssh2-server.ts'
import { findSshd, startSshd } from './sshd.ts'

/** A private service, on a loopback port of its own. */
export interface SampleServer extends AsyncDisposable {
  readonly port: number
  /** For people: what answers there. */
  readonly what: string
}

/** The real sshd where this machine has one, else (or with POSTERN_SAMPLE_SSHD=none) a small server in this process. */
export async function startSampleSsh(folder: string, keys: SshKeys): Promise<SampleServer> {
  const sshd = process.env.POSTERN_SAMPLE_SSHD === 'none' ? undefined : findSshd()
  return sshd ? startSshd(sshd, folder, keys) : startSsh2Server(keys)
}

/** Sends back what it gets, line or not, and says goodbye after the other side has finished: a half-close one can see. */
export async function startSampleEcho(): Promise<SampleServer> {
  const open = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, socket => {
    open.add(socket)
    let bytes = 0
    socket.on('data', chunk => {
      bytes += chunk.length
      if (!socket.write(chunk)) socket.pause()
    })
    socket.on('drain', () => socket.resume())
    socket.on('end', () => socket.end(`\n(that were ${bytes} bytes; this line came after you had finished)\n`))
    socket.on('error', () => socket.destroy()).on('close', () => open.delete(socket))
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => resolve())
  })
  return {
    port: (server.address() as AddressInfo).port,
    what: 'an echo service',
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy()
      await new Promise<void>(resolve => server.close(() => resolve()))
    },
  }
}
