import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { connect } from 'node:tls'
import { createConnector, createIdentity, signConnector } from '@postern/connector/issue'
import type { Call, Dialled, PipePurpose, SentHeaders, Transport } from '@postern/interface'
import type { AuditRow } from '@postern/store'
import { type Grant, type Jwks, readGrant, readJwks } from '@postern/tokens'
import client from '@postern/transport-websocket/client'
import { type About, type HostMessage, type JoinMessage, startTunnel, type Tunnel } from '@postern/tunnel'
import type { EdgeConfig } from '../src/index.ts'
import { call, echo, quiet, startWorld, type World } from './world.ts'

const transport = (await client.create({} as never, {} as never)) as Transport

export const KEY = `sha256:${'0f'.repeat(32)}`

/** A daemon that is enrolled: what its credentials file holds. */
export interface Enrolled {
  readonly tunnel: string
  readonly id: string
  readonly token: string
  readonly cert: string
  readonly key: string
  readonly grantKeys: Jwks
}

/** A daemon's connection by hand, which says that it joins. */
export interface Daemon {
  readonly who: Enrolled
  readonly tunnel: Tunnel
  /** What it was told. */
  readonly told: JoinMessage[]
  /** What it was told besides. */
  readonly heard: HostMessage[]
  /** Dials the pipe for a ticket, whoever's it is. */
  leg(ticket: string): Promise<Duplex>
}

export interface JoinWorld extends AsyncDisposable {
  readonly world: World
  enrol(tunnel?: string): Promise<Enrolled>
  /** @param answers what it does when it is told; default: it dials, and sends back what comes */
  daemon(who: Enrolled, answers?: (daemon: Daemon, message: JoinMessage) => void, about?: About): Promise<Daemon>
  /** A client that asks to be joined. */
  client(headers?: SentHeaders, inner?: Call): Promise<Dialled>
  leg(who: Enrolled, headers: SentHeaders): Promise<Duplex>
  rows(action: string): Promise<readonly AuditRow[]>
}

export async function startJoinWorld(config: Partial<EdgeConfig> = {}): Promise<JoinWorld> {
  const world = await startWorld(config, [], 0)
  const { administration, store } = world.edge
  const identity = await createIdentity('home')
  await administration.call('tunnel-identity.put', {
    params: { name: 'home' },
    body: { certificate: identity.cert, replace: false },
  })
  const ca = readFileSync(join(world.folder, 'ca', 'ca.pem'), 'utf8')
  const tunnels: Tunnel[] = []
  const pipes: Duplex[] = []
  const dial = async (host: string, purpose: PipePurpose, headers: SentHeaders, pair?: Enrolled, inner = call) => {
    const dialled = await transport.dial(
      {
        edge: new URL(`https://127.0.0.1:${world.edge.port}`),
        host,
        purpose,
        headers: {},
        credential: { headers },
        ca: [ca],
        connect: async () => {
          const own = pair && { cert: pair.cert, key: pair.key }
          const at = {
            port: world.edge.port,
            host: '127.0.0.1',
            servername: host,
            ca,
            ALPNProtocols: [...(pair ? ['postern-certificate'] : []), 'http/1.1'],
          }
          const socket = connect({ ...at, ...own })
          await once(socket, 'secureConnect')
          return socket
        },
      },
      inner,
    )
    pipes.push(dialled.pipe.on('error', () => {}))
    return dialled
  }
  const credential = ({ token }: Enrolled, more: SentHeaders = {}) => ({ 'postern-tunnel-token': token, ...more })
  const made: JoinWorld = {
    world,
    async enrol(tunnel = 'home') {
      const one = await createConnector()
      const certificate = await signConnector(identity, tunnel, one)
      const body = { certificate, host: 'here' }
      const { token, grantKeys } = await administration.call('connector.enrol', { params: { name: tunnel }, body })
      return { tunnel, id: one.id, token, cert: certificate, key: one.key, grantKeys: grantKeys as unknown as Jwks }
    },
    async daemon(who, answers = echoing, about = { connector: who.id, connection: 0, join: 1 }) {
      const { pipe } = await dial('edge.localhost', 'connector', credential(who), who)
      const told: JoinMessage[] = []
      const keys = Promise.withResolvers<void>()
      const heard: HostMessage[] = []
      const onMessage = (message: HostMessage) => {
        if (message.type === 'grant-keys') keys.resolve()
        if (message.type !== 'join') return void heard.push(message)
        told.push(message)
        answers(daemon, message)
      }
      const tunnel = await startTunnel(pipe, { role: 'client', log: quiet, onStream: echo, onMessage, about }, call)
      tunnels.push(tunnel)
      const daemon: Daemon = { who, tunnel, told, heard, leg: ticket => made.leg(who, { 'postern-join': ticket }) }
      // Answered once the edge has taken it in: what it read before that is its hello.
      // What an edge says first to a daemon that joins, before it takes it in.
      if (about.join === 1) await Promise.race([keys.promise, tunnel.closed])
      await tunnel.ping(call)
      return daemon
    },
    client: (headers = { 'postern-key': KEY }, inner = call) =>
      dial('db.localhost', 'join', { ...world.headers(), ...headers }, undefined, inner),
    leg: async (who, headers) => (await dial('edge.localhost', 'join', credential(who, headers), who)).pipe,
    rows: async action => (await store.readAudit({ most: 50, action })) as readonly AuditRow[],
    async [Symbol.asyncDispose]() {
      for (const pipe of pipes) pipe.destroy()
      await Promise.all(tunnels.map(tunnel => tunnel.close().catch(() => {})))
      await world[Symbol.asyncDispose]()
    },
  }
  return made
}

function echoing(daemon: Daemon, { ticket }: JoinMessage): void {
  void daemon.leg(ticket).then(
    pipe => void pipe.on('error', () => {}).pipe(pipe),
    () => {},
  )
}

/** One header of an answer. */
export function said({ answer }: Dialled, name: string): string | undefined {
  return answer[name]?.[0]
}

/** The grant of an answer, as this daemon reads it. */
export function grantOf(dialled: Dialled, { tunnel, id, grantKeys }: Enrolled): Promise<Grant> {
  return readGrant(said(dialled, 'postern-grant'), readJwks(grantKeys), { tunnel, connector: id })
}

/** How a pipe ends: undefined is a clean end. */
export function fateOf(pipe: Duplex): Promise<(Error & { code?: string }) | undefined> {
  return new Promise(resolve => {
    pipe.on('error', resolve)
    pipe.on('end', () => resolve(undefined))
    pipe.resume()
  })
}

/** The next bytes, until there are so many. */
export async function read(pipe: Duplex, bytes: number): Promise<string> {
  let text = ''
  while (text.length < bytes) {
    const chunk = pipe.read() as Buffer | null
    if (chunk === null) await once(pipe, 'readable')
    else text += chunk.toString()
  }
  return text
}
