import { spawn } from 'node:child_process'
import { once } from 'node:events'

/** Everything that goes through a TCP port of this machine's loopback, as it is on the wire. */
export interface Capture {
  /** @returns the capture file, once what was on its way is in it */
  stop(): Promise<Buffer>
}

/** tcpdump, which needs root or its capability. @throws why it cannot */
export async function capture(port: number): Promise<Capture> {
  const child = spawn('tcpdump', ['-i', 'lo', '-s', '0', '-B', '16384', '-U', '-w', '-', `tcp port ${port}`])
  const chunks: Buffer[] = []
  let said = ''
  child.stdout.on('data', chunk => chunks.push(chunk))
  child.stderr.on('data', chunk => (said += chunk))
  const closed = once(child, 'close')
  while (!said.includes('listening on')) {
    const over = await Promise.race([once(child.stderr, 'data').then(() => false), closed.then(() => true)])
    if (over) throw new Error(said)
  }
  return {
    async stop() {
      child.kill('SIGINT')
      await closed
      return Buffer.concat(chunks)
    },
  }
}
