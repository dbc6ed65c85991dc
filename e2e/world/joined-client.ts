import { X509Certificate } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { makeSessionKey, type SessionKey } from '@postern/end-to-end/session-key'
import { secureAsClient } from '@postern/end-to-end/tls'
import type { Call, SentHeaders, Transport } from '@postern/interface'
import websocket from '@postern/transport-websocket/client'
import { DATA, dialTls, RawSession, SYN, yamux } from './attacker.ts'
import type { JoinedWorld } from './joined.ts'
import { quiet } from './lab.ts'

const call: Call = { signal: new AbortController().signal, log: quiet }

/** A pipe that is joined to a daemon's, before anything was said in it, and what the edge said about it. */
export interface Granted {
  readonly pipe: Duplex
  readonly key: SessionKey
  readonly grant: string
  /** PEM. */
  readonly identity: string
  readonly tunnel: string
  readonly connector: string
}

/** Dials for an end-to-end session by hand. @throws PosternError the edge's refusal, in `refusal` */
export async function askToJoin(
  world: JoinedWorld,
  hostname: string,
  { key, token = world.token }: { readonly key?: SessionKey; readonly token?: JoinedWorld['token'] } = {},
): Promise<Granted> {
  const own = key ?? (await makeSessionKey())
  const credential: SentHeaders = { 'postern-client-id': token.id, 'postern-client-secret': token.secret }
  const transport = (await websocket.create({} as never, {} as never)) as Transport
  const { pipe, answer } = await transport.dial(
    {
      edge: new URL(`https://127.0.0.1:${world.port}`),
      host: hostname,
      purpose: 'join',
      headers: { 'postern-key': own.fingerprint },
      credential: { headers: credential },
      connect: () => dialTls(world, hostname),
      ca: [],
    },
    call,
  )
  pipe.on('error', () => {})
  const [grant = ''] = answer['postern-grant'] ?? []
  if (answer['postern-mode']?.[0] !== 'end-to-end') throw new Error(`it is ${answer['postern-mode']?.[0]}`)
  const { aud } = JSON.parse(Buffer.from(grant.split('.')[1] ?? '', 'base64url').toString()) as { aud: string }
  const [tunnel = '', connector = ''] = aud.split(':').slice(2)
  const identity = new X509Certificate(Buffer.from(answer['postern-tunnel-identity']?.[0] ?? '', 'base64')).toString()
  return { pipe, key: own, grant, identity, tunnel, connector }
}

/** TLS in a joined pipe: with what the edge said of the daemon, unless told otherwise. @throws as `secureAsClient` */
export async function secure(world: JoinedWorld, granted: Granted, key: SessionKey = granted.key): Promise<Duplex> {
  const { identity, tunnel, connector, pipe } = granted
  const pin = world.tunnels.get(tunnel)?.fingerprint ?? ''
  const secured = await secureAsClient(pipe, { identity, pin, tunnel, connector }, key, call)
  return secured.on('error', () => {})
}

/** A session by hand, end to end with the daemon of an application. Said hello, with its grant or what is said instead. */
export async function joinedSession(
  world: JoinedWorld,
  hostname: string,
  more: { readonly granted?: Granted; readonly hello?: (grant: string) => Uint8Array } = {},
): Promise<RawSession> {
  const granted = more.granted ?? (await askToJoin(world, hostname))
  const session = new RawSession(await secure(world, granted))
  session.send((more.hello ?? helloWith)(granted.grant))
  return session
}

export function helloWith(grant: string): Buffer {
  return yamux(DATA, SYN, 1, `${JSON.stringify({ v: 1, type: 'hello', about: { grant } })}\n`)
}
