// An HTTP/1.1 upgrade, and what the edge says to it.
import http from 'node:http'
import { PosternError, readProblem } from '@postern/interface'
import { Pipe, UPGRADE } from './pipe.js'

/** Bytes of a refusal. */
const LONGEST = 65_536

/**
 * @param {import('@postern/interface').DialRequest} request
 * @param {import('@postern/interface').Call} call
 */
export async function dial(request, call) {
  call.signal.throwIfAborted()
  const aborted = Promise.withResolvers()
  aborted.promise.catch(() => {})
  const abort = () => aborted.reject(call.signal.reason)
  call.signal.addEventListener('abort', abort, { once: true })
  /** @type {Promise<import('node:stream').Duplex> | undefined} */
  let connection
  try {
    const { headers } = request.credential
    const url = new URL(`${request.edge.protocol}//${request.host}/`)
    const own = typeof headers === 'function' ? await headers({ method: 'GET', url }, call) : headers
    // The host's own way to the edge, with its proxies and its trust: never node:net or node:tls.
    connection = request.connect(request.edge.protocol === 'https:' ? { alpn: ['http/1.1'] } : undefined, call)
    const socket = await Promise.race([connection, aborted.promise])
    const sent = { ...request.headers, ...own, 'postern-purpose': request.purpose, host: request.host }
    return await Promise.race([shakeHands(socket, sent), aborted.promise])
  } catch (error) {
    // A connection that came too late is closed, too.
    connection?.then(socket => socket.on('error', () => {}).destroy()).catch(() => {})
    throw error
  } finally {
    call.signal.removeEventListener('abort', abort)
  }
}

/**
 * @param {import('node:stream').Duplex} socket
 * @param {import('@postern/interface').SentHeaders} headers
 * @returns {Promise<import('@postern/interface').Dialled>}
 */
function shakeHands(socket, headers) {
  return new Promise((resolve, reject) => {
    /** @param {unknown} [cause] */
    const strange = cause => reject(new PosternError('EDGE_PROTOCOL', 'what answered is not an edge', { cause }))
    const all = /** @type {http.OutgoingHttpHeaders} */ ({ ...headers, connection: 'Upgrade', upgrade: UPGRADE })
    const createConnection = () => /** @type {import('node:net').Socket} */ (socket)
    const request = http.request({ createConnection, path: '/', headers: all })
    request.on('error', strange)
    request.on('upgrade', (response, upgraded, head) => {
      if (response.headers.upgrade !== UPGRADE) return strange()
      resolve({ pipe: new Pipe(upgraded, head), answer: receivedOf(response) })
    })
    request.on('response', response => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', text => {
        body += text
        if (body.length > LONGEST) strange()
      })
      response.on('error', strange)
      response.on('end', () => {
        const told = readProblem(parsed(body))
        const refusal = { status: response.statusCode ?? 0, headers: receivedOf(response) }
        if (told) reject(PosternError.fromProblem(told, { refusal }))
        else strange()
      })
    })
    request.end()
  })
}

/** @param {string} text @returns {unknown} */
function parsed(text) {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** @param {http.IncomingMessage} message */
function receivedOf(message) {
  return /** @type {import('@postern/interface').ReceivedHeaders} */ ({ ...message.headersDistinct })
}
