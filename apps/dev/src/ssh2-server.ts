import { spawn } from 'node:child_process'
import { timingSafeEqual } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import { userInfo } from 'node:os'
import ssh2, { type Connection, type Session } from 'ssh2'
import type { SampleServer } from './samples.ts'
import type { SshKeys } from './ssh-keys.ts'

/** A small SSH server in this process, for machines without sshd: this user, this key, commands and a plain shell. */
export async function startSsh2Server(keys: SshKeys): Promise<SampleServer> {
  const allowed = ssh2.utils.parseKey(keys.userPublicKey)
  if (allowed instanceof Error) throw allowed
  const connections = new Set<Connection>()
  const server = new ssh2.Server({ hostKeys: [keys.hostPrivateKey] }, connection => {
    connections.add(connection)
    connection.on('close', () => connections.delete(connection)).on('error', () => connection.end())
    connection.on('authentication', request => {
      const right =
        request.method === 'publickey' &&
        request.username === userInfo().username &&
        sameBytes(request.key.data, allowed.getPublicSSH())
      const proved =
        right &&
        (!request.signature ||
          allowed.verify(request.blob ?? Buffer.alloc(0), request.signature, request.hashAlgo) === true)
      if (proved) request.accept()
      else request.reject(['publickey'])
    })
    connection.on('ready', () => connection.on('session', accept => serveSession(accept())))
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => resolve())
  })
  return {
    port: (server.address() as AddressInfo).port,
    what: 'a small SSH server in this process (sshd is not installed)',
    async [Symbol.asyncDispose]() {
      for (const connection of connections) connection.end()
      await new Promise<void>(resolve => server.close(() => resolve()))
    },
  }
}

function serveSession(session: Session): void {
  session.on('pty', accept => accept?.())
  session.on('env', accept => accept?.())
  session.on('exec', (accept, _reject, info) => run(accept(), ['-c', info.command]))
  session.on('shell', accept => run(accept(), []))
}

function run(channel: ssh2.ServerChannel, args: readonly string[]): void {
  const child = spawn('/bin/sh', [...args], { stdio: 'pipe' })
  channel.pipe(child.stdin)
  child.stdout.pipe(channel, { end: false })
  child.stderr.pipe(channel.stderr, { end: false })
  child.stdin.on('error', () => {}) // the command may end without reading
  channel.on('error', () => child.kill()).on('close', () => child.kill())
  child.once('error', () => channel.exit(127))
  child.once('close', status => {
    channel.exit(status ?? 1)
    channel.end()
  })
}

function sameBytes(one: Buffer, other: Buffer): boolean {
  return one.length === other.length && timingSafeEqual(one, other)
}
