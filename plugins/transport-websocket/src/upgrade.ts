import type { IncomingMessage } from 'node:http'
import type { Code, PipePurpose } from '@postern/interface'

/** What an upgrade asks for, by WebSocket sub-protocol. An upgrade that names none is `raw`: a foreign client, one TCP connection. */
const NAMES = {
  session: 'postern-session-1',
  connector: 'postern-connector-1',
  join: 'postern-join-1',
} as const satisfies Record<Exclude<PipePurpose, 'raw'>, string>

export function subprotocolOf(purpose: PipePurpose): string | undefined {
  return purpose === 'raw' ? undefined : NAMES[purpose]
}

function purposeOf(name: string): PipePurpose | undefined {
  for (const [purpose, ours] of Object.entries(NAMES)) if (ours === name) return purpose as PipePurpose
  return undefined
}

/** A name of ours, in a version that is not spoken here. */
function isOtherVersion(name: string): boolean {
  return /^postern-[a-z]+-\d{1,9}$/.test(name) && purposeOf(name) === undefined
}

/** What is wrong with an upgrade before anybody asks who sent it. */
export interface Fault {
  readonly code: Code
  readonly detail: string
}

/** Whether a request wants a WebSocket at all, in whatever spelling: then it is answered here, be it well-formed or not. */
export function wantsWebSocket(request: IncomingMessage): boolean {
  const tokens = (request.headersDistinct.upgrade ?? []).join(',').toLowerCase().split(',')
  return tokens.some(token => /^websocket(\/|$)/.test(token.trim()))
}

/** Headers that speak of a body. */
const BODY = ['content-length', 'transfer-encoding', 'expect', 'trailer']

/** RFC 6455 §4.2.1, strictly: two readers of a sloppy request could read it in two ways. */
export function readUpgrade(request: IncomingMessage): { readonly purpose: PipePurpose } | Fault {
  const one = (name: string): string | undefined => {
    const values = request.headersDistinct[name]
    return values?.length === 1 ? values[0] : undefined
  }
  if (request.method !== 'GET') return bad('a WebSocket starts with GET')
  if (request.httpVersion !== '1.1') return bad('a WebSocket starts with HTTP/1.1')
  // Something in between that counts a body reads another connection than we do (WebSocket smuggling).
  if (BODY.some(name => request.headersDistinct[name])) return bad('a WebSocket starts without a body')
  if (one('upgrade')?.toLowerCase() !== 'websocket') return bad('exactly one Upgrade: websocket is wanted')
  if (one('host') === undefined) return bad('exactly one Host is wanted')
  if (!/^[+/0-9A-Za-z]{22}==$/.test(one('sec-websocket-key') ?? '')) return bad('Sec-WebSocket-Key is not valid')
  if (one('sec-websocket-version') !== '13') return bad('Sec-WebSocket-Version must be 13')
  return readPurpose(request.headersDistinct['sec-websocket-protocol'])
}

function readPurpose(values: readonly string[] | undefined): { readonly purpose: PipePurpose } | Fault {
  if (values === undefined) return { purpose: 'raw' }
  const names = values.join(',').split(',', 16)
  for (const [index, name] of names.entries()) names[index] = name.trim()
  if (names.some(name => !/^[\w!#$%&'*+.^`|~-]{1,64}$/.test(name)) || new Set(names).size !== names.length)
    return bad('Sec-WebSocket-Protocol is not valid')
  for (const name of names) {
    const purpose = purposeOf(name)
    if (purpose) return { purpose }
  }
  const other = names.find(isOtherVersion)
  if (other) return { code: 'VERSION_UNSUPPORTED', detail: `this edge does not speak ${other}` }
  return bad('no sub-protocol of these is spoken here; leave Sec-WebSocket-Protocol out for one raw TCP connection')
}

function bad(detail: string): Fault {
  return { code: 'BAD_USAGE', detail }
}
