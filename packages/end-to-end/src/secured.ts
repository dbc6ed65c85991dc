import type { X509Certificate } from 'node:crypto'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import { PosternError, type Speaker } from '@postern/interface'
import { Below } from './below.ts'

/** Milliseconds for the handshake: both ends are there when it begins. */
const HANDSHAKE = 10_000

/** TLS on a socket of the system's is Node's own from end to end; in any other pipe it reads and writes {@link Below}. */
export function secure(pipe: Duplex, start: (below: Duplex) => TLSSocket, speaker: Speaker): Secured {
  return pipe instanceof Socket && !(pipe instanceof TLSSocket)
    ? new OnSocket(pipe, start, speaker)
    : new InPipe(pipe, start, speaker)
}

/** A TLS socket with what it is in: one's end is the other's, and every error has a code. */
export abstract class Secured {
  readonly socket: TLSSocket
  readonly #speaker: Speaker
  #ready = false

  protected constructor(socket: TLSSocket, speaker: Speaker) {
    this.socket = socket
    this.#speaker = speaker
    const { destroy } = socket
    // The one place where every end passes that is none, errors of OpenSSL too.
    socket.destroy = error => {
      if (!socket.destroyed) this.destroying(error && this.#explain(error), why => destroy.call(socket, why))
      return socket
    }
    socket.on('error', () => {})
  }

  /** @param destroy what destroys the socket */
  protected abstract destroying(error: Error | undefined, destroy: (error?: Error) => void): void

  /** Resolves when the handshake is done. @throws PosternError; `signal.reason` */
  async ready(event: 'secure' | 'secureConnect', alpn: string, signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const late = () =>
      reject(this.fail(new PosternError('TIMED_OUT', `no TLS inside the pipe within ${HANDSHAKE / 1000} s`)))
    const aborted = () => {
      this.socket.destroy()
      reject(signal.reason)
    }
    const ended = () => reject(this.fail(this.cut()))
    const timer = setTimeout(late, HANDSHAKE)
    signal.addEventListener('abort', aborted)
    this.socket.once(event, resolve).once('error', reject).once('end', ended).once('close', ended)
    try {
      await promise
      this.#ready = true
      if (this.socket.alpnProtocol !== alpn)
        throw this.fail(new PosternError('PROTOCOL_VIOLATION', `the TLS inside the pipe is not for ${alpn}`))
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', aborted)
      this.socket.off('error', reject).off('end', ended).off('close', ended)
    }
  }

  /** @throws PosternError PROTOCOL_VIOLATION: none */
  peer(): X509Certificate {
    const found = this.socket.getPeerX509Certificate()
    if (found) return found
    throw this.fail(new PosternError('PROTOCOL_VIOLATION', 'who is at the other end showed no certificate'))
  }

  fail(error: PosternError): PosternError {
    this.socket.destroy(error)
    return error
  }

  protected cut(): PosternError {
    const message = this.#ready ? 'the pipe ended without an end inside it' : 'the pipe ended before TLS was agreed on'
    return new PosternError('STREAM_CUT', message)
  }

  #explain(error: NodeJS.ErrnoException): Error {
    if (PosternError.is(error)) return error
    const { code = '', message } = error
    const facts = { cause: error, speaker: this.#speaker }
    if (UNTRUSTED.test(code)) {
      const why = REASONS[code] ?? `is not vouched for by its tunnel (${code})`
      const next = code === 'CERT_NOT_YET_VALID' ? { next: 'Compare this machine’s clock with the daemon’s.' } : {}
      return new PosternError('DAEMON_UNTRUSTED', `the daemon’s certificate ${why}`, { ...facts, ...next })
    }
    if (code === 'EPROTO' || code.startsWith('ERR_SSL') || code.startsWith('ERR_TLS'))
      return new PosternError('PROTOCOL_VIOLATION', `the TLS inside the pipe is broken (${code})`, facts)
    return new PosternError('STREAM_CUT', `the pipe was cut: ${code || message}`, facts)
  }
}

const REASONS: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'has expired',
  CERT_NOT_YET_VALID: 'is not valid yet',
}

/** What OpenSSL and Node say of a certificate. */
const UNTRUSTED =
  /^(CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|ERR_TLS_CERT_ALTNAME|HOSTNAME_MISMATCH|INVALID_|PATH_LENGTH|ERROR_IN_CERT)/

/** Node tells the end of the socket as it tells close_notify. What is destroyed before it ended is reset. */
class OnSocket extends Secured {
  readonly #under: Socket
  #why: Error | undefined

  constructor(under: Socket, start: (below: Duplex) => TLSSocket, speaker: Speaker) {
    if (under.destroyed || under.readableEnded) throw new PosternError('STREAM_CUT', 'the pipe ended before TLS began')
    // Whoever gave it may have made its destroying a cut of its own; how it ends is TLS's to say from here on.
    under.destroy = Socket.prototype.destroy
    super(start(under), speaker)
    this.#under = under
    under.on('error', () => {}) // TLS tells it
  }

  /**
   * TLS first: Node 26 dies of a segmentation fault where TLS is destroyed between the destroying of its socket and that one's 'close',
   * at which it destroys TLS itself.
   */
  protected destroying(error: Error | undefined, destroy: (error?: Error) => void): void {
    const { writableEnded, writableFinished, writableLength, readableEnded } = this.socket
    const under = this.#under
    this.#why ??= error
    if (under.closed) destroy(this.#why ?? (writableFinished && readableEnded ? undefined : this.cut()))
    if (under.destroyed) return
    // Behind an end of ours, what the system still has to send is sent; and Node cannot reset what is about to send its FIN.
    const isEnding = writableEnded && writableLength === 0
    if (!isEnding && under.remoteFamily !== undefined) resetWhenDestroyed(under)
    destroy(this.#why)
  }
}

function resetWhenDestroyed(socket: Socket): void {
  socket.destroy = () => {
    socket.destroy = Socket.prototype.destroy
    return socket.resetAndDestroy()
  }
}

/** Only close_notify is an end. */
class InPipe extends Secured {
  readonly #pipe: Duplex
  readonly #below: Below
  /** The other end said close_notify: nothing else ends what is read. */
  #ended = false

  constructor(pipe: Duplex, start: (below: Duplex) => TLSSocket, speaker: Speaker) {
    const below = new Below(pipe, () => this.#onBelowEnd())
    super(start(below), speaker)
    this.#pipe = pipe
    this.#below = below
    const { socket } = this
    const { push } = socket
    socket.push = (chunk, encoding) => {
      this.#ended ||= chunk === null
      return push.call(socket, chunk, encoding)
    }
    socket.once('close', this.#onClose)
    below.on('error', () => {})
    pipe.on('error', error => socket.destroy(error)).once('close', this.#onPipeClose)
    pipe.on('progress', () => socket.emit('progress'))
  }

  protected destroying(error: Error | undefined, destroy: (error?: Error) => void): void {
    destroy(error)
  }

  /** The pipe ended, and TLS has all of it. A clean end was said inside, or is of no more use to us. */
  #onBelowEnd(): void {
    if (this.#ended) return
    if (this.socket.writableEnded) this.#below.finish()
    else this.socket.destroy(this.cut())
  }

  readonly #onPipeClose = (): void => {
    if (!this.#ended && !this.socket.writableFinished) this.socket.destroy(this.cut())
  }

  /** After two clean ends the pipe ends by itself. */
  readonly #onClose = (): void => {
    this.#below.destroy()
    if (!this.#pipe.writableEnded || !this.#ended) this.#pipe.destroy(this.socket.errored ?? undefined)
    else this.#pipe.resume()
  }
}
