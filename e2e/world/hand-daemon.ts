import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { daemonContext, secureAsDaemon } from '@postern/end-to-end/tls'
import type { Call, PipePurpose, SentHeaders, Transport } from '@postern/interface'
import websocket from '@postern/transport-websocket/client'
import { DATA, dialTls, RawSession, SYN, yamux } from './attacker.ts'
import type { JoinedWorld } from './joined.ts'
import { quiet } from './lab.ts'

const call: Call = { signal: new AbortController().signal, log: quiet }

/** What of its credentials is presented. */
interface Own {
  readonly token: string
  readonly certificate: string
  readonly key: string
}

/** A daemon by hand, with the credentials of one that is enrolled. */
export class HandDaemon {
  readonly control: RawSession
  readonly #world: JoinedWorld
  readonly #own: Own
  #taken = 0

  private constructor(world: JoinedWorld, own: Own, control: RawSession) {
    this.#world = world
    this.#own = own
    this.control = control
  }

  /** @param about what it says of itself besides its name and number, in its hello @param v the version that it says it speaks */
  static async start(world: JoinedWorld, tunnel: string, about: object = {}, v = 1): Promise<HandDaemon> {
    const own = JSON.parse(readFileSync(join(world.tunnels.get(tunnel)?.home ?? '', 'connector.json'), 'utf8'))
    const control = new RawSession(await dial(world, own, 'connector', {}))
    const hello = { v, type: 'hello', about: { connector: own.connector, connection: 0, ...about } }
    control.send(yamux(DATA, SYN, 1, `${JSON.stringify(hello)}\n`))
    return new HandDaemon(world, own, control)
  }

  /** Says something on the control stream. */
  tell(message: object): void {
    this.control.send(yamux(DATA, 0, 1, `${JSON.stringify(message)}\n`))
  }

  /** Waits for the next client, and comes for it. @returns the session inside, in which nothing was said yet */
  async join(): Promise<RawSession> {
    const joins = () =>
      this.control
        .text(1)
        .split('\n')
        .filter(line => line.includes('"type":"join"'))
    await this.control.until(() => joins().length > this.#taken, 'a client')
    const { ticket } = JSON.parse(joins()[this.#taken++] ?? '{}')
    const leg = await dial(this.#world, this.#own, 'join', { 'postern-join': ticket })
    const { pipe } = await secureAsDaemon(leg, daemonContext(this.#own), call)
    return new RawSession(pipe)
  }
}

async function dial(world: JoinedWorld, own: Own, purpose: PipePurpose, headers: SentHeaders) {
  const transport = (await websocket.create({} as never, {} as never)) as Transport
  const pair = { cert: own.certificate, key: own.key, ALPNProtocols: ['http/1.1', 'postern-certificate'] }
  const { pipe } = await transport.dial(
    {
      edge: new URL(`https://127.0.0.1:${world.port}`),
      host: 'edge.localhost',
      purpose,
      headers,
      credential: { headers: { 'postern-tunnel-token': own.token } },
      connect: () => dialTls(world, 'edge.localhost', pair),
      ca: [],
    },
    call,
  )
  return pipe.on('error', () => {})
}
