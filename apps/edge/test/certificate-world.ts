import { once } from 'node:events'
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import {
  createAuthority,
  createCertificateRequest,
  issueCertificate,
  makeKey,
  readCertificateRequest,
  type SubjectName,
} from '@postern/pki'
import type { CertificateRule } from '../src/front/handshake.ts'
import { Answers } from './front-world.ts'
import { type Answer, parseAnswer } from './visitor.ts'

export interface Pair {
  readonly cert: string
  readonly key: string
}

/** Somebody's CA, with what it is trusted by. */
export interface TestAuthority extends Pair {
  readonly rule: CertificateRule
  issue(commonName: string, more?: Issuing): Promise<Pair>
}

export interface Issuing {
  readonly usage?: 'client' | 'server' | 'connector-authority'
  readonly seconds?: number
  readonly san?: readonly SubjectName[]
}

export async function authorityOf(commonName: string, pathLength = 1): Promise<TestAuthority> {
  return testAuthority(await createAuthority({ commonName, days: 10, pathLength }), commonName)
}

export function testAuthority(ca: Pair, key: string): TestAuthority {
  return {
    ...ca,
    rule: { key, certificates: [ca.cert] },
    issue: async (commonName, { usage = 'client', seconds = 3600, san = [] } = {}) => {
      const own = await makeKey()
      const { publicKey } = await readCertificateRequest(await createCertificateRequest(own))
      const { cert } = await issueCertificate(ca, { publicKey, commonName, san, seconds, usage })
      return { cert, key: own }
    },
  }
}

/** A connection, whoever is at its other end; it rejects where there is none to be had. */
export async function reach(port: number, servername: string, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const all = {
    port,
    host: '127.0.0.1',
    servername,
    rejectUnauthorized: false,
    ALPNProtocols: ['http/1.1'],
    ...options,
  }
  const socket = connect(all)
  await once(socket, 'secureConnect')
  socket.on('error', () => {})
  return socket
}

/** One request over a connection that stays. */
export async function askOver(socket: TLSSocket, host: string, more = ''): Promise<Answer> {
  const answers = new Answers(socket)
  socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\n${more}\r\n`)
  return parseAnswer(await answers.next())
}

/** One request over a connection of its own, which the server may end where it wants. */
export async function ask(
  port: number,
  host: string,
  options: ConnectionOptions = {},
  servername = host,
): Promise<Answer> {
  const socket = connect({
    port,
    host: '127.0.0.1',
    servername,
    rejectUnauthorized: false,
    ALPNProtocols: ['http/1.1'],
    ...options,
  })
  socket.on('error', () => {})
  // TLS 1.3: the server's no to a certificate may come after its yes to the connection.
  socket.once('secureConnect', () => socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`))
  return parseAnswer(await new Answers(socket).next())
}

export function reach2(port: number, hostname: string, options: ConnectionOptions = {}): ClientHttp2Session {
  const session = connectHttp2(`https://${hostname}:${port}`, {
    rejectUnauthorized: false,
    lookup: (_host, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }]),
    ...options,
  })
  session.on('error', () => {})
  return session
}
