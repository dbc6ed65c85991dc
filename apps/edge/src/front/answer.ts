import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Problem, SentHeaders } from '@postern/interface'

/** Milliseconds a refused client has to take its answer and go. */
const LINGER = 1000

/**
 * Answers with a problem on the bare socket and ends the connection. Every refusal of the front is written here, so that a
 * plain request, an upgrade and a broken request cannot be told apart by their answers' form.
 *
 * Nothing more is read: what the client still sends stays in its own buffers.
 */
export function answerProblem(socket: Duplex, problem: Problem, headers: SentHeaders = {}, head = false): void {
  if (socket.destroyed) return
  if (!socket.writable) return void socket.destroy()
  const body = Buffer.from(JSON.stringify(problem))
  const all: SentHeaders = {
    ...headers,
    'content-type': 'application/problem+json',
    'content-length': String(body.length),
    'cache-control': 'no-store',
    'postern-request-id': problem.requestId,
    connection: 'close',
  }
  const lines = Object.entries(all).flatMap(([name, value]) => [value].flat().map(one => `${name}: ${one}`))
  const start = `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status] ?? 'Refused'}`
  const bytes = Buffer.from(`${[start, ...lines].join('\r\n')}\r\n\r\n`, 'latin1')
  socket.end(head ? bytes : Buffer.concat([bytes, body]))
  socket.pause()
  const timer = setTimeout(() => socket.destroy(), LINGER)
  socket.once('close', () => clearTimeout(timer))
}
