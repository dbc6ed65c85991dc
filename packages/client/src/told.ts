import type { Application } from '@postern/interface'

/** What the edge says of the application, as far as it is well-formed; a client works without it. */
export function readApplication(header: string | undefined, known: Application): Application {
  if (header === undefined || header.length > 4096) return known
  try {
    const { id, teamDomain, protocols } = JSON.parse(header) as Record<string, unknown>
    return {
      hostname: known.hostname,
      id: typeof id === 'string' ? id : '',
      teamDomain: typeof teamDomain === 'string' ? teamDomain : '',
      protocols: Array.isArray(protocols) ? protocols.filter(name => typeof name === 'string') : [],
    }
  } catch {
    return known
  }
}
