import { X509Certificate } from 'node:crypto'
import { keyFingerprint } from '@postern/end-to-end'
import { makeSessionKey, type SessionKey } from '@postern/end-to-end/session-key'
import { type Call, type Code, type Dialled, type Pipe, PosternError } from '@postern/interface'
import type { About } from '@postern/tunnel'
import { mendable } from './transports.ts'

/** That nobody between this client and the application's daemon is to read what is sent, the edge included. */
export interface EndToEnd {
  /** Refuses a session that the edge would be the other end of. So does a pin, whoever set it. Default false. */
  readonly required?: boolean
  /** `sha256:` and 64 hexadecimal digits: the tunnel's key, as `posternd` prints it. Goes before what is kept. */
  readonly pin?: string
  /** Where pins are kept. Without it none is, and what has no `pin` is as good as the edge's word. */
  readonly pins?: Pins
}

/** The keys of tunnels that this client has seen, by the application's hostname. */
export interface Pins {
  get(hostname: string): Promise<string | undefined>
  /** Called once a daemon has proved it. */
  keep(hostname: string, pin: string): Promise<void>
}

/** A pipe to start a session in, and what to say of oneself there. */
export interface Joined {
  readonly dialled: Dialled
  readonly pipe: Pipe
  readonly about?: About
}

/** Asks the edge to be joined to a daemon, or for a session with itself. */
export type DialJoin = (purpose: 'join' | 'session', headers?: Readonly<Record<string, string>>) => Promise<Dialled>

/** What is wrong with one pipe, where somebody else may have come for it in the daemon's place, or in this client's. */
const RACED: ReadonlySet<Code> = new Set(['STREAM_CUT', 'DAEMON_UNTRUSTED', 'PROTOCOL_VIOLATION'])

/**
 * Milliseconds for TLS on a bare connection: what drops one drops it without a word. A daemon whose own was dropped needs two seconds to
 * notice, and comes by another way.
 */
const BARE_HANDSHAKE = 5_000

/**
 * Dials for an end-to-end session, and takes what the edge offers instead where nobody insists on one. A pipe at whose other end is
 * not the daemon is tried once more: whoever sees a connection's ticket may use it first, and gets nothing by it. An edge that is older than
 * end-to-end sessions is asked for one with itself.
 *
 * @throws PosternError MODE_FORBIDDEN; TUNNEL_KEY_CHANGED, with both fingerprints; DAEMON_UNTRUSTED; EDGE_PROTOCOL; as `dial` and
 *   `secureAsClient`
 */
export async function join(hostname: string, wanted: EndToEnd, dial: DialJoin, call: Call): Promise<Joined> {
  const pin = wanted.pin ?? (await wanted.pins?.get(hostname))
  for (let go = 1; ; go++) {
    const key = await makeSessionKey()
    const dialled = await dial('join', { 'postern-key': key.fingerprint }).catch((error: unknown) => {
      if (!isOlder(error)) throw error
      // By this transport: another may be of a version that it speaks.
      if (isInsisted(wanted, pin)) throw mendable(forbidden(hostname, wanted, pin, error))
      call.log.debug('the edge is older than end-to-end sessions', { hostname })
      return dial('session').catch(failed => {
        throw isOlder(failed) ? mendable(failed) : failed
      })
    })
    try {
      return await take(hostname, pin, { wanted, key }, dialled, call)
    } catch (error) {
      dialled.pipe.on('error', () => {}).destroy()
      call.signal.throwIfAborted()
      const isRaced = PosternError.is(error) && RACED.has(error.code)
      if (!isRaced) throw error
      if (go === 2) throw dialled.serverName === undefined ? error : mendable(error)
      call.log.debug('no TLS with the daemon; once more', { code: error.code, cause: error.message })
    }
  }
}

interface Wanted {
  readonly wanted: EndToEnd
  readonly key: SessionKey
}

async function take(
  hostname: string,
  pin: string | undefined,
  { wanted, key }: Wanted,
  dialled: Dialled,
  call: Call,
): Promise<Joined> {
  const mode = dialled.answer['postern-mode']?.[0] ?? 'hop'
  if (mode === 'end-to-end') return secured(hostname, pin, { wanted, key }, dialled, call)
  if (mode !== 'hop') throw notAnEdge(`it answered with the mode ${JSON.stringify(mode.slice(0, 64))}`)
  if (isInsisted(wanted, pin)) throw forbidden(hostname, wanted, pin)
  return { dialled, pipe: dialled.pipe }
}

async function secured(
  hostname: string,
  pin: string | undefined,
  { wanted, key }: Wanted,
  dialled: Dialled,
  call: Call,
): Promise<Joined> {
  const { grant, identity, tunnel, connector } = readAnswer(dialled)
  const { secureAsClient } = await import('@postern/end-to-end/tls')
  const found = keyFingerprint(identity.publicKey)
  const { serverName } = dialled
  const want = {
    identity: identity.toString(),
    pin: pin ?? found,
    tunnel,
    connector,
    ...(serverName && { serverName }),
  }
  const late = new AbortController()
  const timer = serverName === undefined ? undefined : setTimeout(() => late.abort(tooLate()), BARE_HANDSHAKE)
  const within: Call = { log: call.log, signal: AbortSignal.any([call.signal, late.signal]) }
  const pipe = await secureAsClient(dialled.pipe, want, key, within)
    .catch(error => {
      throw PosternError.is(error) && error.code === 'TUNNEL_KEY_CHANGED' ? advised(error, hostname, found) : error
    })
    .finally(() => clearTimeout(timer))
  if (pin === undefined) {
    // Only now: a daemon has proved it.
    await wanted.pins?.keep(hostname, found)
    const said = wanted.pins ? 'it is pinned from now on' : 'nothing pins it'
    call.log.warn(`the edge vouches for the key of the tunnel; ${said}`, { hostname, fingerprint: found })
  }
  return { dialled, pipe, about: { grant } }
}

function tooLate(): PosternError {
  return new PosternError('TIMED_OUT', `no TLS with the daemon within ${BARE_HANDSHAKE / 1000} s`, {
    speaker: 'client',
  })
}

function advised({ code, message, cause }: PosternError, hostname: string, found: string): PosternError {
  const next = `Ask the tunnel’s administrator for its fingerprint. If it is the new one: postern access pin --hostname ${hostname} --set ${found}`
  return new PosternError(code, message, { cause, speaker: 'client', next })
}

function isInsisted({ required = false }: EndToEnd, pin: string | undefined): boolean {
  return required || pin !== undefined
}

/** What an edge answers that knows no joins: it does not speak that version of the pipe. Whoever is in its place may say so, too. */
function isOlder(error: unknown): error is PosternError {
  return PosternError.is(error) && error.code === 'VERSION_UNSUPPORTED' && error.refusal !== undefined
}

/** A pin holds, whoever set it: else whoever has the edge would have what is sent by saying that there is no other way. */
function forbidden(hostname: string, wanted: EndToEnd, pin: string | undefined, older?: unknown): PosternError {
  const isKept = !wanted.required && wanted.pin === undefined
  const how =
    older === undefined ? 'only through itself, where it can read what is sent' : 'no end-to-end sessions: it is older'
  const why = isKept ? `its tunnel’s key is pinned here (${pin}), since its first end-to-end session or by hand` : ASKED
  const mend = older === undefined ? DAEMON_UP : 'Update the edge.'
  const next = isKept
    ? `Ask the tunnel’s administrator whether that is meant. If not: ${mend} If it is, and the edge may read what you send: postern access pin --hostname ${hostname} --forget`
    : `${mend} To do without, leave out --end-to-end and --pin, and forget the pin if there is one: postern access pin --hostname ${hostname} --forget`
  return new PosternError('MODE_FORBIDDEN', `the edge offers ${hostname} ${how}, and ${why}`, {
    speaker: 'client',
    next,
    ...(older !== undefined && { cause: older }),
  })
}

const ASKED = 'end-to-end was asked for'
const DAEMON_UP =
  'A daemon of the tunnel that posternd login logged in has to be up, and mode in its ingress rule must not be hop.'

/** What the edge sends along with its yes. The daemon looks at the grant; here it only says who is to be found. */
function readAnswer({ answer }: Dialled) {
  const [grant = ''] = answer['postern-grant'] ?? []
  const [der = ''] = answer['postern-tunnel-identity'] ?? []
  const [tunnel, connector] = audienceOf(grant)
  if (tunnel === undefined || connector === undefined) throw notAnEdge('it sent no grant that can be read')
  try {
    return { grant, identity: new X509Certificate(Buffer.from(der, 'base64')), tunnel, connector }
  } catch (cause) {
    throw notAnEdge('it sent no certificate of the tunnel', cause)
  }
}

function audienceOf(grant: string): readonly string[] {
  try {
    const { aud } = JSON.parse(Buffer.from(grant.split('.')[1] ?? '', 'base64url').toString()) as { aud?: unknown }
    return /^postern:connector:([a-z0-9-]{1,63}):([0-9a-f-]{36})$/.exec(String(aud))?.slice(1) ?? []
  } catch {
    return []
  }
}

function notAnEdge(why: string, cause?: unknown): PosternError {
  return new PosternError('EDGE_PROTOCOL', `the edge’s answer to an end-to-end session is none: ${why}`, {
    cause,
    speaker: 'client',
  })
}
