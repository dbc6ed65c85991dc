import { constants, type X509Certificate } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { connect, createSecureContext, type SecureContext, TLSSocket } from 'node:tls'
import { type Call, type Pipe, PosternError, type Speaker } from '@postern/interface'
import { Below } from './below.ts'
import { checkConnector, checkIdentity } from './check.ts'
import { keyFingerprint } from './fingerprint.ts'
import { connectorUri } from './name.ts'
import { certificateOf, type SessionKey } from './session-key.ts'

/** Milliseconds for the handshake: both ends are there when it begins. */
const HANDSHAKE = 10_000
const ALPN = 'postern/1'
/** AES-128 first: a fifth faster than AES-256 where one core carries all, and nobody breaks either. */
const CIPHERS = 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256'

const COMMON = {
  minVersion: 'TLSv1.3',
  maxVersion: 'TLSv1.3',
  ciphers: CIPHERS,
  honorCipherOrder: true,
  secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
} as const

/** Whom a client wants to find at the other end of a pipe. */
export interface WantedDaemon {
  /** PEM or DER of the certificate of the tunnel's identity, whoever brought it. */
  readonly identity: string | Uint8Array
  /** `sha256:` and hexadecimal digits: what the identity's key has to have. */
  readonly pin: string
  /** The one connector: as its certificate names it. */
  readonly tunnel: string
  readonly connector: string
}

/**
 * TLS 1.3 as the client, with a certificate of its session key. OpenSSL verifies that the daemon's certificate ends in the identity's,
 * the identity's key is the pinned one, and the certificate names tunnel and connector. The pipe belongs to the result from here on:
 * close_notify is a clean end, everything else is a cut.
 *
 * @throws PosternError TUNNEL_KEY_CHANGED; DAEMON_UNTRUSTED; PROTOCOL_VIOLATION: no TLS 1.3, or not for Postern; TIMED_OUT after 10 s;
 *   what cut the pipe; `signal.reason`. The pipe is destroyed then
 */
export async function secureAsClient(pipe: Pipe, want: WantedDaemon, key: SessionKey, call: Call): Promise<Pipe> {
  try {
    call.signal.throwIfAborted()
    const identity = pinned(want)
    const below = new Below(pipe, () => secured.belowEnded())
    const secured: Secured = new Secured(
      connect({
        ...COMMON,
        socket: below,
        // For nobody's eyes: who it is, the certificate's URI says.
        servername: `${want.connector}.${want.tunnel}.postern.invalid`,
        checkServerIdentity: () => undefined,
        rejectUnauthorized: true,
        ca: [identity.toString()],
        cert: certificateOf(key),
        key: key.privateKey.export({ type: 'pkcs8', format: 'pem' }),
        ALPNProtocols: [ALPN],
      }),
      pipe,
      below,
      'client',
    )
    await secured.ready('secureConnect', call.signal)
    const found = secured.peer()
    try {
      checkConnector(found.toString(), identity, want.tunnel)
    } catch (cause) {
      throw secured.fail(untrusted(PosternError.from(cause).message, cause))
    }
    if (found.subjectAltName !== `URI:${connectorUri(want.tunnel, want.connector)}`)
      throw secured.fail(untrusted('the daemon’s certificate is for another connector than the edge named'))
    return secured.socket
  } catch (error) {
    pipe.on('error', () => {}).destroy()
    throw error
  }
}

/** What a daemon proves itself with: made once, used for each pipe. */
export type DaemonContext = SecureContext

/**
 * @param credentials PEM of the connector's certificate and of its key
 * @throws PosternError CONFIG_INVALID
 */
export function daemonContext({
  certificate,
  key,
}: {
  readonly certificate: string
  readonly key: string
}): DaemonContext {
  try {
    return createSecureContext({ ...COMMON, cert: certificate, key })
  } catch (cause) {
    throw new PosternError('CONFIG_INVALID', 'the connector’s certificate and key cannot be used', { cause })
  }
}

/**
 * TLS 1.3 as the daemon, which dialled the pipe and is its server nevertheless. Whoever is at the other end proves a key; whose it has
 * to be, the grant says. The pipe belongs to the result from here on.
 *
 * @returns the pipe inside, and the fingerprint of the key that was proved
 * @throws PosternError PROTOCOL_VIOLATION: no TLS 1.3, not for Postern, or no certificate; TIMED_OUT after 10 s; what cut the pipe;
 *   `signal.reason`. The pipe is destroyed then
 */
export async function secureAsDaemon(
  pipe: Pipe,
  secureContext: DaemonContext,
  call: Call,
): Promise<{ readonly pipe: Pipe; readonly client: string }> {
  try {
    call.signal.throwIfAborted()
    const below = new Below(pipe, () => secured.belowEnded())
    const options = { isServer: true, secureContext, ALPNProtocols: [ALPN] }
    // Signed by itself, so OpenSSL cannot say who it is; that its key is there, the handshake proves all the same.
    const asking = { requestCert: true, rejectUnauthorized: false }
    // Declared for sockets; any Duplex is taken, as by tls.connect.
    const socket = new TLSSocket(below as unknown as ConstructorParameters<typeof TLSSocket>[0], {
      ...options,
      ...asking,
    })
    // A server of Node's hears errors here, and destroys the socket for them; this one has no server.
    socket.on('_tlsError', (error: Error) => socket.destroy(error))
    const secured: Secured = new Secured(socket, pipe, below, 'daemon')
    await secured.ready('secure', call.signal)
    return { pipe: secured.socket, client: keyFingerprint(secured.peer().publicKey) }
  } catch (error) {
    pipe.on('error', () => {}).destroy()
    throw error
  }
}

/** @throws PosternError TUNNEL_KEY_CHANGED, DAEMON_UNTRUSTED */
function pinned({ identity: given, pin }: WantedDaemon): X509Certificate {
  const pem = typeof given === 'string' ? given : pemOf(given)
  let identity: X509Certificate
  try {
    identity = checkIdentity(pem)
  } catch (cause) {
    throw untrusted(PosternError.from(cause).message, cause)
  }
  const found = keyFingerprint(identity.publicKey)
  if (found !== pin)
    throw new PosternError('TUNNEL_KEY_CHANGED', `the tunnel’s key is ${found}, and ${pin} was pinned`, {
      speaker: 'client',
    })
  return identity
}

function pemOf(der: Uint8Array): string {
  return `-----BEGIN CERTIFICATE-----\n${Buffer.from(der).toString('base64')}\n-----END CERTIFICATE-----\n`
}

function untrusted(why: string, cause?: unknown): PosternError {
  return new PosternError('DAEMON_UNTRUSTED', why, { cause, speaker: 'client' })
}

/** A TLS socket with the pipe that it is in: one's end is the other's, and every error has a code. */
class Secured {
  readonly socket: TLSSocket
  readonly #pipe: Duplex
  readonly #below: Below
  readonly #speaker: Speaker
  #ready = false
  /** The other end said close_notify: nothing else ends what is read. */
  #ended = false

  constructor(socket: TLSSocket, pipe: Duplex, below: Below, speaker: Speaker) {
    this.socket = socket
    this.#pipe = pipe
    this.#below = below
    this.#speaker = speaker
    const { push, destroy } = socket
    // The two places where all that happens inside passes, errors of OpenSSL too.
    socket.push = (chunk, encoding) => {
      this.#ended ||= chunk === null
      return push.call(socket, chunk, encoding)
    }
    socket.destroy = error => destroy.call(socket, error && this.#explain(error))
    socket.on('error', () => {}).once('close', this.#onClose)
    below.on('error', () => {})
    pipe.on('error', error => socket.destroy(error)).once('close', this.#onPipeClose)
  }

  /** Resolves when the handshake is done. @throws PosternError; `signal.reason` */
  async ready(event: 'secure' | 'secureConnect', signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const late = () =>
      reject(this.fail(new PosternError('TIMED_OUT', `no TLS inside the pipe within ${HANDSHAKE / 1000} s`)))
    const aborted = () => {
      this.socket.destroy()
      reject(signal.reason)
    }
    const timer = setTimeout(late, HANDSHAKE)
    signal.addEventListener('abort', aborted)
    this.socket
      .once(event, resolve)
      .once('error', reject)
      .once('close', () => reject(this.#cut()))
    try {
      await promise
      this.#ready = true
      if (this.socket.alpnProtocol !== ALPN)
        throw this.fail(new PosternError('PROTOCOL_VIOLATION', `the TLS inside the pipe is not for ${ALPN}`))
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', aborted)
      this.socket.off('error', reject)
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

  /** The pipe ended, and TLS has all of it. A clean end was said inside, or is of no more use to us. */
  belowEnded(): void {
    if (this.#ended) return
    if (this.socket.writableEnded) this.#below.finish()
    else this.socket.destroy(this.#cut())
  }

  readonly #onPipeClose = (): void => {
    if (!this.#ended && !this.socket.writableFinished) this.socket.destroy(this.#cut())
  }

  /** After two clean ends the pipe ends by itself. */
  readonly #onClose = (): void => {
    this.#below.destroy()
    if (!this.#pipe.writableEnded || !this.#ended) this.#pipe.destroy(this.socket.errored ?? undefined)
    else this.#pipe.resume()
  }

  #cut(): PosternError {
    const message = this.#ready ? 'the pipe ended without an end inside it' : 'the pipe ended before TLS was agreed on'
    return new PosternError('STREAM_CUT', message)
  }

  #explain(error: NodeJS.ErrnoException): Error {
    if (PosternError.is(error)) return error
    const { code = '', message } = error
    const facts = { cause: error, speaker: this.#speaker }
    if (UNTRUSTED.test(code)) {
      const why = code === 'CERT_HAS_EXPIRED' ? 'has expired' : `is not vouched for by its tunnel (${code})`
      return new PosternError('DAEMON_UNTRUSTED', `the daemon’s certificate ${why}`, facts)
    }
    if (code === 'EPROTO' || code.startsWith('ERR_SSL') || code.startsWith('ERR_TLS'))
      return new PosternError('PROTOCOL_VIOLATION', `the TLS inside the pipe is broken (${code})`, facts)
    return new PosternError('STREAM_CUT', `the pipe was cut: ${code || message}`, facts)
  }
}

/** What OpenSSL and Node say of a certificate. */
const UNTRUSTED =
  /^(CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|ERR_TLS_CERT_ALTNAME|HOSTNAME_MISMATCH|INVALID_|PATH_LENGTH|ERROR_IN_CERT)/
