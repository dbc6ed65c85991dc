import { connect } from 'node:net'
import { type Origin, startOrigin } from './origin.ts'

/** What stands between a daemon and its service and reads along: on a deny, nothing came by. */
export interface Tap extends AsyncDisposable {
  readonly service: string
  /** Connections and bytes so far. */
  readonly seen: { readonly connections: number; readonly bytes: number }
  /** Everything that was said to the service, one connection after the other. */
  text(): string
  /** Request lines that were said to the service. */
  lines(): string[]
}

export async function startTap(port: number): Promise<Tap> {
  const heard: Buffer[][] = []
  const origin: Origin = await startOrigin(socket => {
    const chunks: Buffer[] = []
    heard.push(chunks)
    const service = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    socket.on('data', chunk => chunks.push(Buffer.from(chunk)))
    service.on('error', () => socket.destroy()).on('close', () => socket.destroy())
    socket.on('close', () => service.destroy())
    socket.pipe(service).pipe(socket)
  })
  const text = () => heard.map(chunks => Buffer.concat(chunks).toString('latin1')).join('\n')
  return {
    service: `http://127.0.0.1:${origin.port}`,
    get seen() {
      return { connections: origin.connections, bytes: origin.bytes }
    },
    text,
    lines: () => [...text().matchAll(/^[A-Z]+ \S+ HTTP\/1\.1$/gm)].map(([line]) => line),
    [Symbol.asyncDispose]: () => origin[Symbol.asyncDispose](),
  }
}
