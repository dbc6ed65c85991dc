import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { connectEdge } from '@postern/client/connect'
import { type Call, PosternError, readProblem } from '@postern/interface'
import type { z } from 'zod'
import type { Answer, Input, RouteName } from './calls.ts'
import { mistakesIn } from './mistakes.ts'
import { BASE, type Route } from './route.ts'
import { ROUTES } from './routes.ts'

/** Milliseconds a call may take, from the first packet to the last byte of the answer. */
const DEADLINE = 30_000
/** Bytes of an answer: ten thousand applications stay below it. */
const LARGEST = 16 * 1024 * 1024

/** The edge's Unix socket on this machine: whoever can open it is an admin. */
export interface SocketPlace {
  readonly socket: string
}

/** The edge's team domain, from anywhere. */
export interface EdgePlace {
  /** `https://edge.example.com`, with its port where that is not 443. */
  readonly edge: URL
  /** An admin token, or, for `setup.use`, the setup token. */
  readonly token: string
  /** PEM. Where given, these alone are trusted; else what the system trusts. */
  readonly ca?: readonly string[]
  /** What the certificate is for, where {@link edge} is not its name but an address. */
  readonly teamDomain?: string
}

export interface AdminClient {
  /**
   * Calls a route of the table.
   *
   * @throws PosternError the edge's refusal with its request id; BAD_USAGE for an input that the route does not take;
   *   EDGE_UNREACHABLE, EDGE_UNTRUSTED, TIMED_OUT; EDGE_PROTOCOL for what is no answer of an edge; `call.signal.reason`
   */
  call<N extends RouteName>(name: N, input: Input<N>, call: Call): Promise<Answer<N>>
}

/**
 * A client of an edge's administration API. It keeps nothing open between calls. A certificate is always verified: no
 * environment variable turns that off, and `*.localhost` is this machine whatever DNS says.
 *
 * @throws PosternError OPTION_INVALID for an edge that is not `https:`
 * @example
 * const admin = createAdminClient({ socket: '/var/lib/postern/admin.sock' })
 * const { teamDomain } = await admin.call('status.get', {}, { signal, log })
 */
export function createAdminClient(place: SocketPlace | EdgePlace): AdminClient {
  if ('edge' in place && place.edge.protocol !== 'https:')
    throw new PosternError('OPTION_INVALID', `an edge is administered by https:, not by ${place.edge.protocol}`)
  return {
    async call(name, input, outer) {
      const route: Route = ROUTES[name]
      const asked = requestOf(name, route, input)
      const late = AbortSignal.timeout(DEADLINE)
      const call = { ...outer, signal: AbortSignal.any([outer.signal, late]) }
      try {
        const text = await exchange(place, route.method, asked, call)
        return answerOf(name, route, text) as Answer<typeof name>
      } catch (error) {
        outer.signal.throwIfAborted()
        if (!late.aborted) throw error
        throw new PosternError('TIMED_OUT', `${placeName(place)} did not answer within ${DEADLINE / 1000} s`, {
          cause: error,
        })
      }
    },
  }
}

interface Asked {
  readonly target: string
  readonly body: string | undefined
}

/** What is sent is checked by the schemas the edge checks it by, so that a mistake is told without a round trip. */
function requestOf(name: string, route: Route, input: unknown): Asked {
  const given = input as { params?: Record<string, string>; query?: Record<string, string>; body?: unknown }
  const wrong = (['params', 'query', 'body'] as const).flatMap(part => mistakes(route[part], given[part]))
  if (wrong.length > 0) throw new PosternError('BAD_USAGE', `${name}: ${wrong.join('; ')}`)
  const path = route.path.replace(/\{(\w+)\}/g, (_, key: string) => segment(key, given.params?.[key] ?? ''))
  const query = new URLSearchParams(Object.entries(given.query ?? {}).filter(([, value]) => value !== undefined))
  return {
    target: `${BASE}${path}${query.size > 0 ? `?${query}` : ''}`,
    body: route.body && JSON.stringify(given.body),
  }
}

function mistakes(schema: z.ZodType | undefined, value: unknown): readonly string[] {
  return schema ? mistakesIn(schema, value).map(({ path, message }) => `${path.join('.')} ${message}`.trim()) : []
}

/** One segment of a path and never more, whatever is in it. `.` and `..` cannot be escaped (RFC 3986 §6.2.2.3): no thing is called so. */
function segment(key: string, value: string): string {
  if (value === '' || value === '.' || value === '..' || !value.isWellFormed())
    throw new PosternError('BAD_USAGE', `${key} cannot be ${JSON.stringify(value)}`)
  return encodeURIComponent(value)
}

async function exchange(place: SocketPlace | EdgePlace, method: string, asked: Asked, call: Call): Promise<string> {
  call.signal.throwIfAborted()
  const socket = 'edge' in place ? await dial(place, call) : undefined
  const authority = 'edge' in place ? authorityOf(place) : 'localhost'
  const request = httpRequest({
    method,
    path: asked.target,
    signal: call.signal,
    headers: {
      host: authority,
      accept: 'application/json, application/problem+json',
      ...('edge' in place && { authorization: `Bearer ${place.token}` }),
      ...(asked.body !== undefined && {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(asked.body),
      }),
    },
    // With an agent, even a new one, createConnection is not asked.
    ...('socket' in place ? { socketPath: place.socket, agent: false } : { createConnection: () => socket }),
  })
  try {
    const response = await responseTo(request, asked.body)
    return await read(response, placeName(place))
  } catch (error) {
    throw PosternError.is(error) ? error : explain(error as NodeJS.ErrnoException, place)
  } finally {
    request.destroy()
    socket?.destroy()
  }
}

/** TCP and TLS as every program here does them. */
function dial(place: EdgePlace, call: Call): Promise<Duplex> {
  const host = place.edge.hostname.replace(/^\[|\]$/g, '')
  const address = { host, port: portOf(place), serverName: place.teamDomain ?? host }
  return connectEdge(address, { alpn: ['http/1.1'] }, { ca: place.ca ?? [] }, {}, call)
}

function portOf({ edge }: EdgePlace): number {
  return edge.port === '' ? 443 : Number(edge.port)
}

function authorityOf({ edge, teamDomain }: EdgePlace): string {
  return teamDomain === undefined ? edge.host : `${teamDomain}${edge.port && `:${edge.port}`}`
}

function placeName(place: SocketPlace | EdgePlace): string {
  return 'edge' in place ? authorityOf(place) : place.socket
}

function responseTo(request: ClientRequest, body: string | undefined): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request.on('response', resolve).on('error', reject)
    request.on('upgrade', (_response, socket) => {
      socket.destroy()
      reject(new PosternError('EDGE_PROTOCOL', 'an upgrade came that nobody asked for'))
    })
    request.end(body)
  })
}

/** @returns the body of a success @throws PosternError the refusal; EDGE_PROTOCOL */
async function read(response: IncomingMessage, place: string): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of response) {
    length += (chunk as Buffer).length
    if (length > LARGEST)
      throw new PosternError('EDGE_PROTOCOL', `${place} answered with more than ${LARGEST / 1024 / 1024} MiB`)
    chunks.push(chunk as Buffer)
  }
  const text = Buffer.concat(chunks).toString()
  const { statusCode = 0, headers } = response
  const type = (headers['content-type'] ?? '').split(';')[0]?.trim()
  if (statusCode === 204) return ''
  if (statusCode === 200 && type === 'application/json') return text
  const refusal = type === 'application/problem+json' ? readProblem(parsed(text)) : undefined
  if (refusal && statusCode >= 400) throw PosternError.fromProblem(refusal, { speaker: 'edge' })
  throw new PosternError('EDGE_PROTOCOL', `${place} answered with status ${statusCode}, which is no answer of an edge`)
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function answerOf(name: string, route: Route, text: string): unknown {
  if (!route.answer) return undefined
  const checked = route.answer.safeParse(parsed(text))
  if (checked.success) return checked.data
  const [first = ''] = mistakes(route.answer, parsed(text))
  throw new PosternError('EDGE_PROTOCOL', `what answered ${name} is not what this program knows: ${first}`, {
    next: 'Update the older of the two, this program or the edge.',
  })
}

/** What an operating system's error means to a person who wanted the edge. */
function explain(cause: NodeJS.ErrnoException, place: SocketPlace | EdgePlace): PosternError {
  if ('edge' in place)
    return new PosternError('EDGE_PROTOCOL', `${authorityOf(place)} broke off its answer (${cause.code})`, { cause })
  const { socket } = place
  const elsewhere = 'run this on the edge’s machine, or use --edge URL after `postern admin login`'
  const [why, next] = {
    ENOENT: ['there is no such socket', `Is the edge running? If it is, ${elsewhere}.`],
    ECONNREFUSED: ['no edge listens there', `Start the edge, or ${elsewhere}.`],
    EACCES: ['you may not open it', `Be the user the edge runs as, or ${elsewhere}.`],
  }[cause.code ?? ''] ?? [`it is no edge’s socket (${cause.code ?? cause.message})`, `Name another, or ${elsewhere}.`]
  const code = cause.code?.startsWith('HPE_') ? 'EDGE_PROTOCOL' : 'EDGE_UNREACHABLE'
  return new PosternError(code, `cannot reach the edge at ${socket}: ${why}`, { cause, next: next ?? '' })
}
