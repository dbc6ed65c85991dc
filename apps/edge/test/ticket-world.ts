import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect as connectTcp, type Socket, type TcpNetConnectOpts } from 'node:net'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import type { Dialled, DialRequest, PipePurpose, SentHeaders, Transport } from '@postern/interface'
import client from '@postern/transport-tls/client'
import { helloMessage, records } from './hello.ts'
import { type Daemon, type JoinWorld, KEY } from './join-world.ts'
import { call } from './world.ts'

const transport = (await client.create({} as never, {} as never)) as Transport

/** What a client of the transport `tls` has: the pipe that nothing was said on yet, and the connection on which it asked. */
export interface Coming extends Dialled {
  readonly pipe: Socket
  readonly serverName: string
  readonly asking: Duplex
}

/** The transport `tls` at the edge of a join world, and everybody who speaks to that edge by hand. */
export interface TicketWorld {
  client(headers?: SentHeaders): Promise<Coming>
  /** A daemon's leg. */
  come(ticket: string): Promise<Duplex>
  dial(host: string, purpose: PipePurpose, headers: SentHeaders): Promise<Dialled>
  /** A bare connection to the edge's port. */
  bare(options?: Partial<TcpNetConnectOpts>): Promise<Socket>
}

export function ticketWorld(joins: JoinWorld): TicketWorld {
  const { port } = joins.world.edge
  const ca = readFileSync(join(joins.world.folder, 'ca', 'ca.pem'), 'utf8')
  const bare: TicketWorld['bare'] = async options => {
    const socket = connectTcp({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true, ...options })
    await once(
      socket.on('error', () => {}),
      'connect',
    )
    return socket
  }
  const dial = async (host: string, purpose: PipePurpose, headers: SentHeaders, credential: SentHeaders) => {
    const sockets: Duplex[] = []
    const connect: DialRequest['connect'] = async securing => {
      const tcp = await bare()
      const secure = () => connectTls({ socket: tcp, servername: host, ca, ALPNProtocols: [...(securing?.alpn ?? [])] })
      const socket = securing ? secure() : tcp
      if (securing) await once(socket, 'secureConnect')
      sockets.push(socket.on('error', () => {}))
      return socket
    }
    const edge = new URL(`https://127.0.0.1:${port}`)
    const dialled = await transport.dial(
      { edge, host, purpose, headers, credential: { headers: credential }, ca: [ca], connect },
      call,
    )
    return { ...dialled, asking: sockets[0]! }
  }
  return {
    bare,
    client: async (headers = { 'postern-key': KEY }) =>
      (await dial('db.localhost', 'join', headers, joins.world.headers())) as unknown as Coming,
    come: async ticket => (await dial('edge.localhost', 'join', { 'postern-join': ticket }, {})).pipe,
    dial: (host, purpose, headers) => dial(host, purpose, {}, headers),
  }
}

/** A ClientHello for a ticket's name, as it is sent. */
export function helloFor(serverName: string, recordSize?: number): Buffer {
  return records(helloMessage({ names: [serverName], alpn: ['postern/1'] }), recordSize)
}

/** A daemon that comes by the transport `tls`, and sends back what comes. */
export function comesBare(tickets: TicketWorld): (daemon: Daemon, message: { readonly ticket: string }) => void {
  return (_daemon, { ticket }) =>
    void tickets.come(ticket).then(
      pipe => void pipe.on('error', () => {}).pipe(pipe),
      () => {},
    )
}

/** What comes until the connection is over, and whether it was cut. */
export async function remains(socket: Duplex): Promise<{ readonly text: string; readonly cut: boolean }> {
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  const ended = once(socket, 'end').then(() => false)
  const gone = once(socket, 'close').then(() => true)
  const cut = await Promise.race([ended, gone.catch(() => true)]).catch(() => true)
  socket.destroy()
  return { text: Buffer.concat(chunks).toString('latin1'), cut }
}
