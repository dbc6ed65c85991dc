import type { Application, AuthProvider, Call, Dialled } from '@postern/interface'
import { beginTunnel, type Tunnel } from '@postern/tunnel'
import type { Trust } from './connect.ts'
import { dialEdge } from './dial.ts'
import type { EndToEnd, Joined } from './join.ts'
import { readApplication } from './told.ts'
import type { NamedTransport } from './transports.ts'

/** A session, and how it came to be. */
export interface Made {
  readonly tunnel: Tunnel
  readonly transport: string
  readonly mode: 'end-to-end' | 'hop'
}

/** Whom the making of a session tells of it. */
export interface Told {
  /** What the edge says of the application. */
  readonly learnt: (app: Application) => void
  /** Streams can be sent, though nobody there has said a word yet. */
  readonly begun: (tunnel: Tunnel) => void
  readonly drained: () => void
}

/** To which application, and how. */
export interface Wanted {
  readonly app: Application
  readonly edge: URL
  readonly auth: readonly AuthProvider[]
  readonly trust?: Trust
  readonly endToEnd?: EndToEnd
}

/** One session by one transport: with the daemon where that is wanted and to be had, else with the edge. @throws as `dialEdge`, `join` and `beginTunnel` */
export async function makeSession(
  { app, edge, auth, trust = { ca: [] }, endToEnd }: Wanted,
  { name, transport }: NamedTransport,
  { learnt, begun, drained }: Told,
  call: Call,
): Promise<Made> {
  const { hostname } = app
  const dial = (purpose: 'session' | 'join', headers: Readonly<Record<string, string>> = {}) => {
    const wanted = { purpose: 'access', app } as const
    return dialEdge({ edge, host: hostname, purpose, wanted, auth, transport, trust, headers }, call)
  }
  call.log.debug('dialling the edge', { hostname, edge: edge.host, transport: name })
  const { dialled, pipe, about } = endToEnd
    ? await (await import('./join.ts')).join(hostname, endToEnd, dial, call)
    : await alone(dial('session'))
  learnt(readApplication(dialled.answer['postern-application']?.[0], app))
  const mode = about ? 'end-to-end' : 'hop'
  const who = { role: 'client', log: call.log, speaker: 'client' } as const
  const { tunnel, greeted } = beginTunnel(pipe, { ...who, ...(about && { about }), onDrain: drained }, call)
  begun(tunnel)
  await greeted
  call.log.debug('a session begins', { hostname, transport: name, mode })
  return { tunnel, transport: name, mode }
}

/** The edge is the other end of it. */
async function alone(dialling: Promise<Dialled>): Promise<Joined> {
  const dialled = await dialling
  return { dialled, pipe: dialled.pipe }
}
