// A pool of connections to a PostgreSQL that listens for nobody: each connection is a stream to its daemon, by way of the edge.
import serviceToken from '@postern/auth-service-token/client'
import { createClient, use } from '@postern/client'
import tls from '@postern/transport-tls/client'
import websocket from '@postern/transport-websocket/client'
import pg from 'pg'

export interface Place {
  /** The database's name at the edge, `db.example.com`. */
  readonly hostname: string
  /** The service token of this program. */
  readonly id: string
  readonly secret: string
  /** What `posternd` prints of its tunnel, `sha256:…`. With it, the edge carries what it cannot read, or nothing. */
  readonly pin?: string
  /** PEM, where the edge's certificate is of a CA of your own. */
  readonly ca?: string
}

export interface Database extends AsyncDisposable {
  readonly pool: pg.Pool
}

/** @param config user, password and database as PostgreSQL knows them; host and port are not looked at */
export function openDatabase({ hostname, id, secret, pin, ca }: Place, config: pg.PoolConfig = {}): Database {
  const postern = createClient({
    auth: use(serviceToken, { id, secret }),
    transport: [tls, websocket], // the second where the first does not get through
    ...(pin !== undefined && { endToEnd: { pins: { [hostname.split(':')[0]!]: pin } } }),
    ...(ca !== undefined && { ca }),
  })
  const pool = new pg.Pool({ ...config, stream: () => postern.socket(hostname) })
  // pg tells here of a connection that was lost while nobody used it; the pool makes another one.
  pool.on('error', () => {})
  return {
    pool,
    async [Symbol.asyncDispose]() {
      await pool.end()
      await postern.close()
    },
  }
}
