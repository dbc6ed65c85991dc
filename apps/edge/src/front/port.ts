import { createSecureServer, type Http2SecureServer } from 'node:http2'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import type { SecureContext, TLSSocket, TlsOptions } from 'node:tls'
import { type Call, type HttpDoor, type Logger, PosternError, type Preface } from '@postern/interface'
import { ASKING, type Certificates } from './certificates.ts'
import { type ClientHello, serverNameOf } from './client-hello.ts'
import { Connections } from './connections.ts'
import { type CertificateRule, CONNECTOR, type Handshake, peerCertificateOf } from './handshake.ts'
import { HeavyHandshakes } from './heavy.ts'
import { Hellos, type Prefaced } from './hellos.ts'
import { http1Options } from './http1.ts'
import { http2Options } from './http2.ts'
import type { FrontLimits } from './limits.ts'

export interface PortOptions {
  readonly certificates: Certificates
  readonly limits: FrontLimits
  readonly log: Logger
  readonly teamDomain: string
  /** What whoever connects to a hostname is asked for; undefined: no certificate. Asked for every connection and every request. */
  readonly certificateRule: (hostname: string) => CertificateRule | undefined
}

/**
 * Connections that may wait until they are taken; the kernel takes the smaller of this and its own limit, 4096 on Linux. Of 3,000
 * that came at once, as everybody does after a restart, Node's own 511 lost 1,200 for seconds; this lost none.
 */
const BACKLOG = 4096

/** A protocol that our daemons offer beside HTTP/1.1 when they have a certificate to show. It is never chosen. */
const SHOWS_CERTIFICATE = 'postern-certificate'

/**
 * The TCP port, with TLS behind it: one server that asks visitors for a certificate and one that does not, since that is a
 * server's to do or to leave. Who comes to which is decided by the hostname in the ClientHello, before the handshake.
 *
 * That hostname is a hint and no more. What a connection was made under is what OpenSSL read and did, so a hello that two would
 * read in two ways gets its sender nothing, nor does another name in the second hello that TLS 1.3 may ask for.
 */
export class Port {
  readonly #options: PortOptions
  readonly #tcp: Server
  readonly #plain: Http2SecureServer
  readonly #asking: Http2SecureServer
  readonly #connections: Connections
  readonly #hellos: Hellos
  readonly #heavy = new HeavyHandshakes()
  readonly #named = new Set<ByName>()
  readonly #prefaced = new Map<Preface, ByPreface>()
  #stopping = false
  /** What each connection that is asked for a certificate was made with, until it is made. */
  readonly #made = new WeakMap<object, Made>()
  /** The rule that was told to be of no use. */
  #told = ''

  /** @param secured told of every connection that is made, before the server's own listener has it */
  constructor(options: PortOptions, secured: (socket: TLSSocket, handshake: Handshake) => void) {
    const { limits, log, certificates } = options
    this.#options = options
    this.#connections = new Connections(limits, log)
    this.#hellos = new Hellos(limits.headTime)
    this.#plain = makeServer(limits, certificates.server)
    const answer = (socket: TLSSocket, asked: string, done: Answered) => this.#answer(socket, asked, done)
    // Node calls it as a method of the socket: nothing else says whose name it is.
    const SNICallback = function (this: TLSSocket, asked: string, done: Answered) {
      answer(this, asked, done)
    }
    this.#asking = makeServer(limits, { ...certificates.server, ...ASKING, SNICallback })
    // Destroyed in a listener before Node's own, a socket would be made a connection all the same.
    for (const server of this.servers) {
      const made = server.listeners('secureConnection')
      server.removeAllListeners('secureConnection').on('secureConnection', (socket: TLSSocket) => {
        if (server === this.#asking) this.#heavy.secured(socket)
        const handshake = this.#handshakeOf(socket, server === this.#asking)
        if (handshake === undefined || this.#stopping) return void socket.destroy()
        secured(socket, handshake)
        for (const listener of made) listener.call(server, socket)
      })
    }
    this.#tcp = createServer({ noDelay: true }, socket => this.#take(socket))
  }

  /** As the door says. */
  onServerName(claim: ByName): () => void {
    this.#named.add(claim)
    return () => void this.#named.delete(claim)
  }

  /** As the door says. */
  onPreface(preface: Preface, claim: ByPreface): () => void {
    this.#prefaced.set(preface, claim)
    this.#hellos.prefaces.add(preface)
    return () => {
      this.#prefaced.delete(preface)
      this.#hellos.prefaces.delete(preface)
    }
  }

  /** For whoever answers requests. */
  get servers(): readonly Http2SecureServer[] {
    return [this.#plain, this.#asking]
  }

  /** TCP connections now. */
  get size(): number {
    return this.#connections.size
  }

  /** @throws PosternError LISTEN_FAILED */
  async listen(host: string, port: number, call: Call): Promise<AddressInfo> {
    call.signal.throwIfAborted()
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const failed = (cause: NodeJS.ErrnoException) =>
      reject(new PosternError('LISTEN_FAILED', `cannot listen on ${host}:${port} (${cause.code})`, { cause }))
    this.#tcp.once('error', failed)
    this.#tcp.listen({ host, port, backlog: BACKLOG }, resolve)
    await promise
    this.#tcp.off('error', failed)
    this.#tcp.on('error', error => this.#options.log.error('the public port failed', { error: error.message }))
    // Who is too slow with a head is looked for from then on.
    for (const server of this.servers) server.emit('listening')
    return this.#tcp.address() as AddressInfo
  }

  /** Another certificate for whoever comes from now on. */
  setCertificates(server: TlsOptions): void {
    this.#plain.setSecureContext(server)
    this.#asking.setSecureContext({ ...server, ...ASKING })
  }

  /** Whether a request for a hostname may come over a connection: whether that was made under the rule of the hostname. */
  isFor(hostname: string, { rule }: Handshake): boolean {
    const wanted = this.#options.certificateRule(hostname)
    return wanted?.key === rule?.key || (rule === CONNECTOR && hostname === this.#options.teamDomain)
  }

  /** No new connections; those that are made live on. */
  stop(): void {
    this.#stopping = true
    this.#tcp.close()
    this.#hellos.close()
    for (const server of this.servers) server.close()
  }

  /** Ends every connection; resolves when the last is gone. */
  async close(): Promise<void> {
    this.stop()
    await this.#connections.close()
  }

  #take(socket: Socket): void {
    if (this.#connections.take(socket)) this.#hellos.read(socket, beginning => this.#begin(socket, beginning))
  }

  /** Some belong to a transport, before anybody reads them as TLS. */
  #begin(socket: Socket, beginning: ClientHello | Prefaced | undefined): void {
    // Whoever claims it keeps half-closes, as a connection of bytes does.
    socket.allowHalfOpen = true
    if (beginning !== undefined && 'preface' in beginning) {
      if (this.#prefaced.get(beginning.preface)?.(beginning.sent, socket) !== true) socket.resetAndDestroy()
      return
    }
    const { serverName } = beginning ?? {}
    if (serverName !== undefined) for (const claim of this.#named) if (claim(serverName, socket)) return
    socket.allowHalfOpen = false
    this.#hand(socket, beginning)
  }

  /** What nobody can read goes where no certificate is asked for: OpenSSL says what is wrong with it. */
  #hand(socket: Socket, hello: ClientHello | undefined): void {
    const rule = hello?.serverName === undefined ? undefined : this.#ruleOf(hello.serverName)
    const isAsking = rule !== undefined && (rule !== CONNECTOR || hello?.alpn.includes(SHOWS_CERTIFICATE) === true)
    if (isAsking && this.#heavy.isOver(socket.remoteAddress)) return void socket.destroy()
    if (isAsking) this.#heavy.watch(socket)
    const server = isAsking ? this.#asking : this.#plain
    server.emit('connection', socket)
  }

  /** At the server that asks. */
  #ruleOf(hostname: string): CertificateRule | undefined {
    return this.#options.certificateRule(hostname) ?? (hostname === this.#options.teamDomain ? CONNECTOR : undefined)
  }

  #answer(socket: TLSSocket, asked: string, done: Answered): void {
    const hostname = serverNameOf(asked)
    const rule = hostname === undefined ? undefined : this.#ruleOf(hostname)
    if (hostname === undefined || rule === undefined)
      return void done(new Error('no certificate is asked for any more'))
    this.#made.set(socket, { hostname, rule })
    this.#contextFor(hostname, rule).then(
      context => done(null, context),
      (error: Error) => done(error),
    )
  }

  async #contextFor(hostname: string, rule: CertificateRule): Promise<SecureContext> {
    try {
      return await this.#options.certificates.asking(hostname, rule)
    } catch (thrown) {
      // Once: a stranger can have it happen as often as they like.
      const error = thrown instanceof Error ? thrown.message : String(thrown)
      if (this.#told !== rule.key)
        this.#options.log.error('nobody can connect: there is no asking for certificates of these CAs', {
          hostname,
          error,
        })
      this.#told = rule.key
      throw thrown
    }
  }

  /** @returns undefined for a connection that must not be */
  #handshakeOf(socket: TLSSocket, isAsking: boolean): Handshake | undefined {
    const hostname = serverNameOf(socket.servername)
    if (!isAsking) return { hostname, rule: undefined, certificate: undefined }
    const made = this.#made.get(socket)
    // Another name in the second hello, or another rule by now: what OpenSSL says was asked of other CAs.
    if (made === undefined || made.hostname !== hostname || socket.isSessionReused()) return undefined
    if (this.#ruleOf(made.hostname)?.key !== made.rule.key) return undefined
    return { ...made, certificate: peerCertificateOf(socket, made.rule) }
  }
}

type ByName = Parameters<HttpDoor['onServerName']>[0]
type ByPreface = Parameters<HttpDoor['onPreface']>[1]
type Answered = (error: Error | null, context?: SecureContext) => void

/** The name whose CAs OpenSSL was given, and the rule that has them. */
interface Made {
  readonly hostname: string
  readonly rule: CertificateRule
}

function makeServer(limits: FrontLimits, tls: TlsOptions): Http2SecureServer {
  const server = createSecureServer({
    ...tls,
    ...http2Options(limits),
    ...http1Options(limits),
    allowHTTP1: true,
    handshakeTimeout: limits.headTime,
    unknownProtocolTimeout: limits.headTime,
  })
  // Node drops the headers above its own limit without a word; ours are counted and refused.
  return Object.assign(server, { maxHeadersCount: 0 })
}
