import type { z } from 'zod'

/** Where the API begins, on the team domain and on the Unix socket. */
export const BASE = '/api/v1'

export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** Below {@link BASE}, with `{parameters}` as OpenAPI writes them. */
  readonly path: string
  /** Who may call it. `setup`: only who holds the setup token, once. `connector`: only who holds a daemon’s, once. */
  readonly role: 'viewer' | 'admin' | 'setup' | 'connector'
  readonly summary: string
  /** Of the path, each a string. Every parameter of the path, and no other. */
  readonly params?: z.ZodObject
  readonly query?: z.ZodObject
  readonly body?: z.ZodType
  /** Absent: 204 and nothing. */
  readonly answer?: z.ZodType
}
