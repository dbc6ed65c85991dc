import { BASE, ROUTES, type Route, type RouteName } from '@postern/admin'
import { PosternError } from '@postern/interface'

/** Everything below this is the API's, existing or not. */
const ROOT = `/${BASE.split('/')[1]}`

/** Whether a request is for the API: of the team domain, and by the one spelling of its target. */
export function isForApi(hostname: string, url: string, teamDomain: string): boolean {
  const [path = ''] = url.split('?', 1)
  return hostname === teamDomain && (path === ROOT || path.startsWith(`${ROOT}/`))
}

export interface Found {
  readonly name: RouteName
  readonly params: { readonly [name: string]: string }
}

const TABLE = Object.entries<Route>(ROUTES).map(([name, { method, path }]) => ({
  name: name as RouteName,
  method,
  segments: `${BASE}${path}`.split('/'),
}))

/**
 * The route a request is for. Segments are compared as they were sent; only a parameter is decoded, once, and never split.
 *
 * @throws PosternError NOT_FOUND, BAD_USAGE
 */
export function findRoute(method: string, target: string): Found {
  const segments = (target.split('?', 1)[0] ?? '').split('/')
  for (const one of TABLE) {
    if (one.method !== method || one.segments.length !== segments.length) continue
    const params: Record<string, string> = {}
    const fits = one.segments.every((wanted, at) => {
      const sent = segments[at] ?? ''
      const name = /^\{(\w+)\}$/.exec(wanted)?.[1]
      if (name === undefined) return sent === wanted
      params[name] = decode(sent)
      return sent !== ''
    })
    if (fits) return { name: one.name, params }
  }
  throw new PosternError('NOT_FOUND', 'the API has no such route', {
    speaker: 'edge',
    next: `GET ${BASE}/openapi.json lists the routes.`,
  })
}

/** @throws PosternError BAD_USAGE when a name comes twice */
export function readQuery(target: string): { readonly [name: string]: string } {
  const at = target.indexOf('?')
  const sent = [...new URLSearchParams(at < 0 ? '' : target.slice(at + 1))]
  const query = new Map<string, string>()
  for (const [name, value] of sent) {
    if (query.has(name)) throw badUsage(`query: ${JSON.stringify(name.slice(0, 64))} comes twice`)
    query.set(name, value)
  }
  return Object.fromEntries(query)
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    throw badUsage('the path is not percent-encoded UTF-8')
  }
}

function badUsage(message: string): PosternError {
  return new PosternError('BAD_USAGE', message, { speaker: 'edge' })
}
