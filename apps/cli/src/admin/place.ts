import { join } from 'node:path'
import type { AdminClient, EdgePlace } from '@postern/admin/client'
import { PosternError } from '@postern/interface'
import type { Reading } from '@postern/options'
import { type Program, readTrust } from '@postern/program'
import { type Login, readLogins } from './logins.ts'
import type { ADMIN_FLAGS } from './options.ts'
import { shellWord } from './show.ts'

/** The edge that a command asks. */
export interface Place {
  readonly client: AdminClient
  /** Where it is not on this machine's socket. */
  readonly edge?: URL
  readonly ca?: string
  /** Its folder, where that was named. */
  readonly data?: string
  /** What a next command needs to mean the same edge: ` --data FOLDER`, or nothing. */
  readonly again: string
  /** For people. */
  readonly name: string
}

type Flags = Reading<typeof ADMIN_FLAGS>

/** An edge's socket in its folder. */
const SOCKET = 'admin.sock'

/**
 * What was given says it, a flag before a variable; without either, the last login.
 *
 * @throws PosternError OPTION_CONFLICT, OPTION_MISSING with every way there is, LOGIN_REQUIRED, FILE_*
 */
export async function findPlace({ values, provided }: Flags, program: Program): Promise<Place> {
  const { createAdminClient } = await import('@postern/admin/client')
  const said = (['flag', 'env'] as const)
    .map(source => (['socket', 'data', 'edge'] as const).filter(option => provided[option] === source))
    .find(options => options.length > 0)
  if (said && said.length > 1)
    throw new PosternError('OPTION_CONFLICT', `${said.map(option => `--${option}`).join(' and ')} name an edge each`)
  const way = said?.[0]
  if (way === 'socket' || way === 'data') {
    const socket = way === 'socket' ? values.socket : join(values.data ?? '', SOCKET)
    const again = provided[way] === 'flag' ? ` --${way} ${shellWord(values[way] ?? '')}` : ''
    const { data } = way === 'data' ? values : {}
    return {
      client: createAdminClient({ socket: socket ?? '' }),
      name: socket ?? '',
      again,
      ...(data !== undefined && { data }),
    }
  }
  const logins = await readLogins(program)
  const edge = values.edge ?? (logins.current === undefined ? undefined : new URL(logins.current))
  if (!edge) throw noEdge()
  const place = edgePlaceOf(edge, values, logins.edges[edge.origin])
  const { ca } = await readTrust(place.ca)
  const client = createAdminClient({ edge, token: place.token, ca })
  const again = provided.edge === 'flag' && edge.origin !== logins.current ? ` --edge ${edge.origin}` : ''
  return { client, edge, name: edge.origin, again, ...(place.ca !== undefined && { ca: place.ca }) }
}

function edgePlaceOf(
  edge: URL,
  { adminToken, ca }: Flags['values'],
  login: Login | undefined,
): Pick<EdgePlace, 'token'> & { readonly ca: string | undefined } {
  const token = adminToken ?? login?.token
  if (token === undefined) {
    throw new PosternError('LOGIN_REQUIRED', `there is no admin token for ${edge.origin} on this machine`, {
      next: `postern admin login --edge ${edge.origin} --token-file FILE, or give --admin-token-file FILE.`,
    })
  }
  return { token, ca: ca ?? login?.ca }
}

function noEdge(): PosternError {
  return new PosternError('OPTION_MISSING', 'no edge was named, and there was no login', {
    next:
      'On the edge’s machine: --data FOLDER of the edge, or --socket FILE. From elsewhere, once: ' +
      'postern admin login --edge URL --setup-token-file FILE. Or each time: --edge URL --admin-token-file FILE.',
  })
}
