import { constants, type X509Certificate } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { connect, createSecureContext, type SecureContext, TLSSocket, type TLSSocketOptions } from 'node:tls'
import { type Call, type Pipe, PosternError } from '@postern/interface'
import { type ConnectorChain, checkChain, checkIdentity } from './check.ts'
import { keyFingerprint } from './fingerprint.ts'
import { connectorUri } from './name.ts'
import { secure } from './secured.ts'
import { certificateOf, type SessionKey } from './session-key.ts'

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
  /** What the ClientHello names, for whoever carries the pipe. Default: a name that says nothing to anybody. */
  readonly serverName?: string
}

/**
 * TLS 1.3 as the client, with a certificate of its session key. OpenSSL verifies that the daemon's certificate ends in the identity's,
 * the identity's key is the pinned one, and the certificate names tunnel and connector; between the two there is nothing, or the authority
 * of a setup token for this connector. The pipe belongs to the result from here on.
 * A reset is a cut. On a socket, an end may also be that of whoever carries it: the session inside has to say its own. In any other
 * pipe, close_notify alone is an end.
 *
 * @throws PosternError TUNNEL_KEY_CHANGED; DAEMON_UNTRUSTED; PROTOCOL_VIOLATION: no TLS 1.3, or not for Postern; TIMED_OUT after 10 s;
 *   what cut the pipe; `signal.reason`. The pipe is destroyed then
 */
export async function secureAsClient(pipe: Pipe, want: WantedDaemon, key: SessionKey, call: Call): Promise<Pipe> {
  try {
    call.signal.throwIfAborted()
    const identity = pinned(want)
    const options = {
      ...COMMON,
      // For nobody's eyes: who it is, the certificate's URI says.
      servername: want.serverName ?? `${want.connector}.${want.tunnel}.postern.invalid`,
      checkServerIdentity: () => undefined,
      rejectUnauthorized: true,
      ca: [identity.toString()],
      cert: certificateOf(key),
      key: key.privateKey.export({ type: 'pkcs8', format: 'pem' }),
      ALPNProtocols: [ALPN],
    }
    const secured = secure(pipe, socket => connect({ ...options, socket }), 'client')
    await secured.ready('secureConnect', ALPN, call.signal)
    const found = secured.peer()
    try {
      checkChain(chainOf(found, identity), identity, want.tunnel)
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

/** What a daemon showed: the second certificate that it sent, where there is one, has to have signed the first. */
function chainOf(found: X509Certificate, identity: X509Certificate): ConnectorChain {
  const next = found.issuerCertificate
  const authority = next && !next.raw.equals(identity.raw) ? next.toString() : undefined
  return { certificate: found.toString(), authority }
}

/** What a daemon proves itself with: made once, used for each pipe. */
export type DaemonContext = SecureContext

/**
 * @param credentials PEM of the connector's certificate, with what signed it where that is not the identity, and of its key
 * @throws PosternError CONFIG_INVALID
 */
export function daemonContext({
  certificate,
  authority = '',
  key,
}: ConnectorChain & { readonly key: string }): DaemonContext {
  try {
    return createSecureContext({ ...COMMON, cert: certificate + authority, key })
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
    const options = { isServer: true, secureContext, ALPNProtocols: [ALPN] }
    // Signed by itself, so OpenSSL cannot say who it is; that its key is there, the handshake proves all the same.
    const asking = { requestCert: true, rejectUnauthorized: false }
    const secured = secure(pipe, below => serverOn(below, { ...options, ...asking }), 'daemon')
    await secured.ready('secure', ALPN, call.signal)
    return { pipe: secured.socket, client: keyFingerprint(secured.peer().publicKey) }
  } catch (error) {
    pipe.on('error', () => {}).destroy()
    throw error
  }
}

function serverOn(below: Duplex, options: TLSSocketOptions): TLSSocket {
  // Declared for sockets; any Duplex is taken, as by tls.connect.
  const socket = new TLSSocket(below as ConstructorParameters<typeof TLSSocket>[0], options)
  // A server of Node's hears errors here, and destroys the socket for them; this one has no server.
  socket.on('_tlsError', (error: Error) => socket.destroy(error))
  return socket
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
