import type { HostOptionSpecs } from '@postern/options'
import { PROGRAM_FLAGS } from '@postern/program'

/** The flags of every command that asks an edge: which one, and as whom. */
export const ADMIN_FLAGS = {
  socket: { type: 'path', summary: 'the edge’s Unix socket, on its machine', env: ['POSTERN_ADMIN_SOCKET'] },
  data: { type: 'path', summary: 'the edge’s folder, which has the socket', env: ['POSTERN_EDGE_DATA'] },
  edge: { type: 'url', summary: 'the edge’s team domain (default: that of the last login)', env: ['POSTERN_EDGE'] },
  adminToken: { type: 'secret', summary: 'instead of the one of the login', env: ['POSTERN_ADMIN_TOKEN'] },
  ca: { type: 'path', summary: 'PEM file of the CA to trust, instead of the system’s', env: ['POSTERN_CA'] },
  ...PROGRAM_FLAGS,
} as const satisfies HostOptionSpecs
/** Options that several commands have. */
export const OUT = {
  out: { type: 'path', summary: 'write the secret into this new file (mode 0600) instead of printing it' },
} as const satisfies HostOptionSpecs

export const EXPIRES = {
  expiresIn: { type: 'duration', summary: 'how long it is good, for example 90d (default: until it is revoked)' },
} as const satisfies HostOptionSpecs

export const OVERLAP = {
  overlap: { type: 'duration', summary: 'how long the old secret stays good beside the new one, for example 1h' },
} as const satisfies HostOptionSpecs

/** The API counts in seconds. Rounded up: less than a second is not nothing. */
export function seconds(ms: number): number {
  return Math.ceil(ms / 1000)
}

/** The member that says how long something is to live, if anything does. */
export function lifetime({ expiresIn }: { readonly expiresIn: number | undefined }): { expiresInSeconds?: number } {
  return expiresIn === undefined ? {} : { expiresInSeconds: seconds(expiresIn) }
}

/** The member that says how long an old secret stays good. */
export function overlapping({ overlap }: { readonly overlap: number | undefined }): { overlapSeconds?: number } {
  return overlap === undefined ? {} : { overlapSeconds: seconds(overlap) }
}
