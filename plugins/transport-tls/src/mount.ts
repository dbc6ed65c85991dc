import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import { type Call, type Door, type Incoming, PosternError, problem } from '@postern/interface'
import { TicketLeg } from './leg.ts'
import { Tickets } from './tickets.ts'
import { readPurpose, Visit } from './visit.ts'
import { PREFACE, PREFACE_LENGTH, TICKET, wantsUpgrade } from './wire.ts'

type Accept = (incoming: Incoming) => Promise<void>

/** Claims at the door until the call is aborted: upgrades, clients with a ticket in their SNI, daemons with one in front of their TLS. */
export async function mount(door: Door, accept: Accept, call: Call): Promise<void> {
  call.signal.throwIfAborted()
  const tickets = new Tickets(`.${door.teamDomain}`)
  const releases = [
    door.onUpgrade((request, socket, head) => {
      if (!wantsUpgrade(request)) return false
      void serve(new Visit(request, socket, head, tickets), door, accept, call)
      return true
    }),
    door.onServerName((serverName, socket) => tickets.take(serverName, socket)),
    door.onPreface({ start: PREFACE, length: PREFACE_LENGTH }, (sent, socket) => {
      const ticket = sent.slice(PREFACE.length, -1)
      if (!TICKET.test(ticket) || !sent.endsWith('\n')) return false
      void serveLeg(ticket, socket, door, accept, call)
      return true
    }),
  ]
  const release = () => {
    for (const one of releases) one()
    tickets.close(new PosternError('DRAINING', 'the edge was stopped', { speaker: 'edge' }))
  }
  call.signal.addEventListener('abort', release, { once: true })
}

/** Never rejects: whatever goes wrong ends this visitor's connection and nothing else. */
async function serve(visit: Visit, door: Door, accept: Accept, call: Call): Promise<void> {
  const { request } = visit
  const failed = () => problem('INTERNAL', randomUUID(), { speaker: 'edge' })
  try {
    const purpose = readPurpose(request)
    if (typeof purpose === 'object') {
      const { code, detail } = purpose
      return await visit.reject(problem(code, randomUUID(), { speaker: 'edge', detail }))
    }
    await accept({
      purpose,
      host: request.headers.host ?? '',
      presented: door.present(request),
      reject: (refusal, headers) => visit.reject(refusal, headers),
      accept: (answer, watch) => visit.accept(purpose, answer, watch),
    })
    if (!visit.answered) call.log.warn('nobody answered an upgrade')
  } catch (error) {
    call.log.warn('an upgrade failed', { error: PosternError.from(error).message })
  }
  if (!visit.answered) await visit.reject(failed()).catch(() => {})
}

/** A daemon that shows a ticket and nothing else. Never rejects. */
async function serveLeg(ticket: string, socket: Socket, door: Door, accept: Accept, call: Call): Promise<void> {
  const leg = new TicketLeg(socket)
  try {
    const { remoteAddress = '' } = socket
    await accept({
      purpose: 'join',
      host: door.teamDomain,
      ticket,
      presented: { method: 'JOIN', url: '/', headers: {}, remoteAddress },
      reject: async ({ code }) => (code === 'TICKET_RACED' ? leg.cut() : leg.reject()),
      accept: async () => leg.accept(),
    })
    if (!leg.answered) call.log.warn('nobody answered a daemon that came for a client')
  } catch (error) {
    call.log.warn('a daemon’s connection for a client failed', { error: PosternError.from(error).message })
  }
  if (!leg.answered) leg.reject()
}
