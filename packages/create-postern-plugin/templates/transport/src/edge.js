// The edge side: takes what is its own at the edge's port, and hands over who is there. Who may come in is not its business.
import { definePlugin, PosternError, problem } from '@postern/interface'
import { Pipe, UPGRADE } from './pipe.js'

export default definePlugin({
  kind: 'transport',
  side: 'edge',
  name: 'my-plugin',
  options: {},
  create: () => ({
    door: 'http',
    async mount(door, accept, call) {
      call.signal.throwIfAborted()
      const release = door.onUpgrade((request, socket, head) => {
        if (request.headers.upgrade !== UPGRADE) return false
        const incoming = arrival(door, request, socket, head)
        accept(incoming).catch(() => incoming.reject(problem('INTERNAL', 'none')))
        return true
      })
      call.signal.addEventListener('abort', release, { once: true })
    },
  }),
})

/**
 * @param {import('@postern/interface').HttpDoor} door
 * @param {import('node:http').IncomingMessage} request
 * @param {import('node:stream').Duplex} socket
 * @param {Buffer} head
 * @returns {import('@postern/interface').Incoming}
 */
function arrival(door, request, socket, head) {
  let isAnswered = false
  const left = () => {
    if (!isAnswered) socket.destroy()
  }
  socket.on('error', left).on('end', left)
  // Only a socket that is read tells that its other end has left; what comes early waits for the pipe.
  const early = [head]
  /** @param {Buffer} chunk */
  const keep = chunk => {
    early.push(chunk)
    if (early.length > 16) socket.pause()
  }
  socket.on('data', keep)
  return {
    purpose: /** @type {import('@postern/interface').PipePurpose} */ (request.headers['postern-purpose']),
    host: request.headers.host ?? '',
    presented: door.present(request),
    async reject(refusal, headers = {}) {
      isAnswered = true
      const body = JSON.stringify(refusal)
      const length = { 'content-length': String(Buffer.byteLength(body)) }
      socket.end(`${headOf(`${refusal.status} Refused`, { ...headers, ...length })}${body}`)
    },
    async accept(answer = {}) {
      if (socket.destroyed) throw new PosternError('STREAM_CUT', 'the client has left')
      isAnswered = true
      socket.off('data', keep)
      socket.write(headOf('101 Switching Protocols', { connection: 'Upgrade', upgrade: UPGRADE, ...answer }))
      return new Pipe(socket, Buffer.concat(early))
    },
  }
}

/** @param {string} status @param {import('@postern/interface').SentHeaders} headers */
function headOf(status, headers) {
  const lines = Object.entries(headers).flatMap(([name, values]) =>
    [values].flat().map(value => `${name}: ${value}\r\n`),
  )
  return `HTTP/1.1 ${status}\r\n${lines.join('')}\r\n`
}
