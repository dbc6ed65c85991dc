import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { request } from 'node:https'
import { isIP } from 'node:net'
import { Readable } from 'node:stream'
import { lookup, type Trust } from '@postern/client'
import { type OriginHost, PosternError } from '@postern/interface'

/** How this daemon reaches its edge. */
export interface TeamAddress {
  readonly edge: URL
  /** The edge’s own hostname, for Host and SNI. Default: the hostname of `edge`. */
  readonly teamDomain?: string
  readonly trust?: Trust
}

/**
 * What the daemon lends the origin sides of its plugins: names are resolved as for its own services, so localhost is loopback; of
 * the network they get the team domain, and nothing else.
 */
export function originHost(to: TeamAddress): OriginHost {
  const { edge, teamDomain = edge.hostname } = to
  const team = edge.port ? `${teamDomain}:${edge.port}` : teamDomain
  return {
    resolve: host =>
      new Promise((resolve, reject) => {
        lookup(host, { all: true }, (cause, addresses) => {
          if (cause)
            return reject(
              new PosternError('ORIGIN_NOT_RESOLVED', `the name does not resolve (${cause.code})`, { cause }),
            )
          resolve([addresses].flat().map(one => (typeof one === 'string' ? one : one.address)))
        })
      }),
    team,
    fetch: (url, { signal }) => fetchFromTeam(url, team, to, signal),
  }
}

/** @throws PosternError DESTINATION_FORBIDDEN; what the network says; `signal.reason` */
async function fetchFromTeam(
  url: URL,
  team: string,
  { edge, teamDomain = edge.hostname, trust }: TeamAddress,
  signal: AbortSignal,
): Promise<Response> {
  signal.throwIfAborted()
  if (url.origin !== new URL(`https://${team}`).origin)
    throw new PosternError('DESTINATION_FORBIDDEN', `${url.origin} is not the team domain`, { speaker: 'daemon' })
  const asked = request({
    host: edge.hostname.replace(/^\[|\]$/g, ''),
    port: edge.port || 443,
    servername: isIP(teamDomain) ? '' : teamDomain,
    path: url.pathname + url.search,
    headers: { host: team, accept: 'application/json', 'accept-encoding': 'identity' },
    rejectUnauthorized: true, // no environment variable turns that off
    agent: false,
    lookup,
    signal,
    ...(trust && trust.ca.length > 0 && { ca: [...trust.ca] }),
  })
  const answered = once(asked, 'response', { signal })
  asked.end()
  const [answer] = (await answered) as [IncomingMessage]
  const status = answer.statusCode ?? 0
  // What a Response cannot be is none that is wanted here.
  if (status < 200 || status > 599 || [204, 205, 304].includes(status)) {
    answer.destroy()
    return new Response(null, { status: 204 })
  }
  return new Response(Readable.toWeb(answer) as ReadableStream<Uint8Array>, { status })
}
