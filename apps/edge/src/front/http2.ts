import type { ServerHttp2Session, ServerHttp2Stream } from 'node:http2'
import type { TLSSocket } from 'node:tls'
import { LINGER } from './exchange.ts'
import type { FrontLimits } from './limits.ts'

/** Resets by the other end: that many at once, and so many a second. A page that cancels what it asked for has hundreds. */
const RESET_BURST = 1000
const RESET_RATE = 100
/** Bytes of each body that are taken before somebody reads it. */
const WINDOW = 262_144

/** Options of node:http2 for strangers. Floods of settings, pings and the like are nghttp2’s to end. */
export function http2Options(limits: FrontLimits) {
  return {
    settings: {
      enableConnectProtocol: true,
      enablePush: false,
      maxConcurrentStreams: limits.streams,
      maxHeaderListSize: limits.headBytes,
      initialWindowSize: WINDOW,
    },
    // Ours is looked at first, with an answer; this one ends the stream without one.
    maxHeaderListPairs: limits.headers + 32,
    streamResetBurst: RESET_BURST,
    streamResetRate: RESET_RATE,
    // An origin may say ETag twice, and has over HTTP/1.1. Node would throw, for trailers where nobody can catch it.
    strictSingleValueFields: false,
  }
}

/** Keeps one HTTP/2 connection within its limits until it is closed. */
export function watchSession(session: ServerHttp2Session, socket: TLSSocket, limits: FrontLimits): void {
  let open = 0
  let asked = 0
  let timer: NodeJS.Timeout | undefined
  const quiet = () => {
    clearTimeout(timer)
    if (socket.destroyed) return
    // Whoever was told to go and has nothing open is not waited for.
    if (session.closed) timer = setTimeout(() => socket.destroy(), LINGER)
    else timer = setTimeout(leave, asked === 0 ? limits.headTime : limits.idleTime)
  }
  const leave = () => {
    // GOAWAY; what runs is finished.
    session.close()
    if (open === 0) quiet()
  }
  quiet()
  session.on('stream', stream => {
    clearTimeout(timer)
    open += 1
    asked += 1
    if (asked === limits.requests) leave()
    stream.once('close', () => {
      open -= 1
      if (open === 0) quiet()
    })
  })
  socket.once('close', () => clearTimeout(timer))
}

/**
 * Makes a stream safe to hand to code that knows node:http only: corked writes that end in an empty string would send freed memory
 * in place of what came before (seen in Node 20, 24 and 26). Each chunk goes alone instead.
 */
export function guardWrites(stream: ServerHttp2Stream): void {
  Object.assign(stream, { _writev: null })
}

/** After the answer, a body that is still being sent is nobody’s: RFC 9113 §8.1 has a word for that, and this is it. */
export function closeAfterAnswer(stream: ServerHttp2Stream): void {
  stream.once('finish', () => {
    const timer = setTimeout(() => stream.close(), LINGER)
    stream.once('close', () => clearTimeout(timer))
  })
  // Trailers are asked for after the body’s last byte is out, whether there are any or not; closed before, they would be lost.
  stream.once('wantTrailers', () => {
    setImmediate(() => {
      if (!stream.closed && !stream.readableEnded) stream.close()
    })
  })
}
