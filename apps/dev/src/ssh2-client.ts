import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { Duplex } from 'node:stream'
import { PosternError } from '@postern/interface'
import ssh2 from 'ssh2'
import type { Dev } from './dev.ts'
import { SSH_HOST } from './names.ts'

/** Milliseconds the proxy has to end by itself. */
const LEAVING = 3_000

/** One command by the SSH client of this process, over `postern access ssh` as its ProxyCommand. */
export function bySsh2(dev: Dev, command: string, signal: AbortSignal): Promise<string> {
  const { id, secretFile } = dev.serviceToken
  const proxy = spawn(
    dev.postern,
    [
      'access',
      'ssh',
      '--hostname',
      `${SSH_HOST}:${dev.port}`,
      '--id',
      id,
      '--secret-file',
      secretFile,
      '--ca',
      dev.caFile,
    ],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  )
  // Node streams are what it takes at run time; its types know only the web's.
  const sock = Duplex.from({ readable: proxy.stdout, writable: proxy.stdin } as never)
  const client = new ssh2.Client()
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const aborted = () => reject(signal.reason)
  signal.addEventListener('abort', aborted)
  client.on('error', reject).on('ready', () =>
    client.exec(command, (error, channel) => {
      if (error) return reject(error)
      let output = ''
      channel.on('data', (chunk: Buffer) => (output += chunk))
      channel.on('close', (code: number | null) =>
        code === 0 ? resolve(output) : reject(new PosternError('INTERNAL', `the command ended with ${code}`)),
      )
    }),
  )
  client.connect({
    sock,
    username: dev.ssh.user,
    privateKey: readFileSync(dev.ssh.keys.userKeyFile),
    hostVerifier: (key: Buffer) => dev.ssh.keys.hostPublicKey.includes(key.toString('base64')),
  })
  return promise.finally(async () => {
    signal.removeEventListener('abort', aborted)
    client.end() // ends the proxy's stdin, and with it the proxy
    const late = setTimeout(() => proxy.kill(), LEAVING)
    if (proxy.exitCode === null && proxy.signalCode === null) await once(proxy, 'close')
    clearTimeout(late)
  })
}
