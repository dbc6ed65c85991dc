import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { PosternError } from '@postern/interface'
import { cut, pump } from '@postern/pump'
import type { Exchange } from './exchange.ts'
import { expectAnswer, headersFor, receive, send } from './forward.ts'
import { pairs, readAnswerHead } from './headers.ts'
import type { Pool } from './pool.ts'
import type { RuleOptions } from './rule.ts'

/**
 * A WebSocket: its handshake as any request, then bytes, which are looked at by nobody. Any answer but 101 is passed on, and
 * ends both connections: what was sent behind the request was meant for a WebSocket.
 *
 * @param early bytes that came behind the request
 */
export async function forwardUpgrade(
  exchange: Exchange,
  pool: Pool,
  options: RuleOptions,
  stream: Duplex,
  early: Buffer,
): Promise<void> {
  const { request, head } = exchange
  const headers = headersFor({ ...head, isChunked: false, wantsTrailers: false }, request.method ?? '')
  const asked = send(exchange, pool, [...headers, 'Connection', 'Upgrade', 'Upgrade', 'websocket'])
  const answered = expectAnswer(exchange, asked, options)
  asked.on('error', error => {
    answered()
    exchange.fail(error)
  })
  asked.on('response', answer => {
    answered()
    stream.resume()
    asked.shouldKeepAlive = false
    receive(exchange, asked, answer)
  })
  asked.on('upgrade', (answer, service, first) => {
    answered()
    if (exchange.left.aborted) return cut(service)
    const lines = [...pairs(readAnswerHead(answer.rawHeaders)), ['Connection', 'Upgrade'], ['Upgrade', 'websocket']]
    const said = answer.statusMessage || STATUS_CODES[101]
    stream.write(
      `HTTP/1.1 101 ${said}\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`,
      'latin1',
    )
    if (first.length > 0) service.unshift(first)
    if (early.length > 0) stream.unshift(early)
    void carry(exchange, stream, service)
  })
  asked.end()
}

async function carry(exchange: Exchange, stream: Duplex, service: Duplex): Promise<void> {
  service.allowHalfOpen = true
  exchange.switched()
  const over = new AbortController()
  const onLeft = (): void => over.abort(exchange.left.reason)
  exchange.left.addEventListener('abort', onLeft)
  try {
    const { error, failed } = await pump(stream, service, { signal: over.signal })
    if (error) throw PosternError.from(error, 'STREAM_CUT', { speaker: failed === 'b' ? 'service' : 'daemon' })
  } catch (thrown) {
    exchange.fail(thrown)
    cut(service)
  } finally {
    exchange.left.removeEventListener('abort', onLeft)
  }
}
