/** A header as it stands in a message, name and value. */
export type Pair = readonly [name: string, value: string]

/** Between two neighbours only (RFC 9110, section 7.6.1). */
const HOP =
  /^(connection|proxy-connection|keep-alive|proxy-authenticate|proxy-authorization|te|upgrade|http2-settings|expect|host)$/i

export interface Rewriting {
  /** `https://app.example.com` */
  readonly application: string
  /** `http://localhost:9000`, as the browser knows it. */
  readonly local: string
}

/**
 * What a local program sent, as the application is told: as if it had been asked at its own address, and with nothing in it
 * that only the edge and its clients say.
 */
export function requestHeaders(raw: readonly string[], { application, local }: Rewriting): Pair[] {
  const pairs = withoutHop(raw).filter(([name]) => !/^postern-/i.test(name))
  return pairs.flatMap(([name, value]): Pair[] => {
    if (/^origin$/i.test(name)) return [[name, application]]
    if (/^referer$/i.test(name))
      return value.startsWith(`${local}/`) ? [[name, application + value.slice(local.length)]] : []
    if (/^cookie$/i.test(name)) return withoutOurs(name, value)
    return [[name, value]]
  })
}

/** What the application answered, as a page at the local address needs it. */
export function responseHeaders(raw: readonly string[], { application, local }: Rewriting): Pair[] {
  return withoutHop(raw).flatMap(([name, value]): Pair[] => {
    if (/^strict-transport-security$/i.test(name)) return []
    if (/^(location|content-location)$/i.test(name) && `${value}/`.startsWith(`${application}/`))
      return [[name, local + value.slice(application.length)]]
    if (/^set-cookie$/i.test(name)) return [[name, value.replace(/;\s*domain=[^;]*/gi, '')]]
    return [[name, value]]
  })
}

/** The headers without those of one hop, and without those that Connection names. */
function withoutHop(raw: readonly string[]): Pair[] {
  const pairs: Pair[] = []
  for (let at = 0; at + 1 < raw.length; at += 2) pairs.push([raw[at] ?? '', raw[at + 1] ?? ''])
  const named = pairs
    .filter(([name]) => /^connection$/i.test(name))
    .flatMap(([, value]) => value.split(',').map(one => one.trim().toLowerCase()))
  return pairs.filter(([name]) => !HOP.test(name) && (isFraming(name) || !named.includes(name.toLowerCase())))
}

/** Said of the body: taking it away because a peer says so would change where it ends. */
function isFraming(name: string): boolean {
  return /^(content-length|transfer-encoding)$/i.test(name)
}

function withoutOurs(name: string, value: string): Pair[] {
  const kept = value.split(';').filter(one => !/^\s*__Host-postern-/i.test(one))
  return kept.length === 0 ? [] : [[name, kept.join(';').trim()]]
}
