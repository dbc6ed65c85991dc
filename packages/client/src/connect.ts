import { type LookupAddress, lookup as systemLookup } from 'node:dns'
import { isIP, type LookupFunction } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect as tlsConnect } from 'node:tls'
import { type Call, type Credential, PosternError, type Securing } from '@postern/interface'
import { isLoopbackName } from './hostname.ts'
import { errnoOf, type Opening, opened } from './opened.ts'
import { connectFirst } from './race.ts'

/** How long TCP may take, and TLS after it: together within the 15 s in which people give up. */
const TCP_DEADLINE = 10_000
const TLS_DEADLINE = 10_000

/**
 * Said behind the protocols, and never chosen: the edge asks for a certificate at its own domain from who has one, and from nobody
 * else.
 */
const SHOWS_CERTIFICATE = 'postern-certificate'

export interface EdgeAddress {
  /** Dialled: an address or a name. */
  readonly host: string
  readonly port: number
  /** What SNI says and the certificate must be for. */
  readonly serverName: string
}

export interface Trust {
  /** PEM. Where given, these alone are trusted for the edge; else what the system trusts. */
  readonly ca: readonly string[]
}

/**
 * TCP to the edge and, with `securing`, TLS on top: happy eyeballs (RFC 8305), no Nagle, keep-alive, `*.localhost` is loopback.
 * The certificate is always verified: no environment variable turns that off.
 *
 * @param onTcp told once somebody took the connection
 * @throws PosternError EDGE_UNREACHABLE, EDGE_UNTRUSTED, EDGE_PROTOCOL; `call.signal.reason`
 */
export async function connectEdge(
  to: EdgeAddress,
  securing: Securing | undefined,
  trust: Trust,
  credential: Credential,
  call: Call,
  onTcp: () => void = () => {},
): Promise<Duplex> {
  call.signal.throwIfAborted()
  const at = { host: to.host, port: to.port, lookup }
  const tcp = await connectFirst(at, failing(to, 'connect', TCP_DEADLINE), call.signal)
  onTcp()
  if (!securing) return tcp
  const secured = tlsConnect({
    socket: tcp,
    servername: isIP(to.serverName) ? '' : to.serverName,
    ALPNProtocols: [...securing.alpn, ...(credential.tls ? [SHOWS_CERTIFICATE] : [])],
    minVersion: 'TLSv1.2',
    rejectUnauthorized: true,
    ...(trust.ca.length > 0 && { ca: [...trust.ca] }),
    ...(credential.tls && { cert: credential.tls.cert, key: credential.tls.key }),
  })
  return opened(secured, failing(to, 'secureConnect', TLS_DEADLINE), call.signal)
}

/** RFC 6761: a resolver must not be asked about localhost, since it may answer anything. */
export const lookup: LookupFunction = (name, options, done) => {
  if (!isLoopbackName(name)) return systemLookup(name, options, done)
  const both: LookupAddress[] = [
    { address: '127.0.0.1', family: 4 },
    { address: '::1', family: 6 },
  ]
  const wanted = options.family === 4 || options.family === 6 ? both.filter(one => one.family === options.family) : both
  if (options.all) done(null, wanted)
  else done(null, wanted[0]?.address ?? '127.0.0.1', wanted[0]?.family ?? 4)
}

function failing(to: EdgeAddress, event: Opening['event'], deadline: number): Opening {
  const late = () =>
    new PosternError('EDGE_UNREACHABLE', `${place(to)} did not answer within ${deadline / 1000} s`, {
      speaker: 'client',
    })
  return { event, deadline, late, failed: error => explain(error, to) }
}

const UNTRUSTED =
  /^(CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|ERR_TLS_CERT_ALTNAME|HOSTNAME_MISMATCH|INVALID_CA|PATH_LENGTH)/

/** What an operating system or OpenSSL error means to a person who wanted the edge. */
function explain(error: NodeJS.ErrnoException, to: EdgeAddress): PosternError {
  const code = errnoOf(error) ?? ''
  const cause = error
  if (UNTRUSTED.test(code)) {
    return new PosternError(
      'EDGE_UNTRUSTED',
      `the certificate of ${place(to)} is not trusted for ${to.serverName} (${code})`,
      { cause, speaker: 'client' },
    )
  }
  if (code === 'EPROTO' || code.startsWith('ERR_SSL')) {
    return new PosternError('EDGE_PROTOCOL', `${place(to)} does not speak TLS as an edge does (${code})`, {
      cause,
      speaker: 'client',
    })
  }
  const reasons: Record<string, string> = {
    ENOTFOUND: 'its name does not resolve',
    EAI_AGAIN: 'its name cannot be resolved now',
    ECONNREFUSED: 'nothing listens there',
    ECONNRESET: 'the connection was reset',
    ETIMEDOUT: 'it does not answer',
    EHOSTUNREACH: 'there is no route to it',
    ENETUNREACH: 'there is no route to it',
  }
  return new PosternError(
    'EDGE_UNREACHABLE',
    `cannot reach ${place(to)}: ${reasons[code] ?? (code || error.message)}`,
    { cause, speaker: 'client' },
  )
}

/** Where was dialled, and as whom where that is somebody else. */
function place({ host, port, serverName }: EdgeAddress): string {
  const dialled = isIP(host) === 6 ? `[${host}]` : host
  return host === serverName ? `${host}:${port}` : `${dialled}:${port} (as ${serverName})`
}
