import { z } from 'zod'
import { rules } from './rules.ts'
import { hostname, lifetime, name, protocolName, tunnelName } from './words.ts'

const MOST = 10_000

/** An application as it is wanted. Protocols default to `tcp`; without rules it lets nobody in. */
export const wantedApplication = z
  .strictObject({
    hostname,
    tunnel: tunnelName,
    protocols: z.array(protocolName).min(1).max(16).default(['tcp']),
    rules: rules.default([]),
  })
  .meta({ id: 'WantedApplication' })

/**
 * The declarative file of `postern admin apply`: what there shall be. A kind that the document does not mention is left alone;
 * of a kind it mentions, what it does not list is left alone too unless the caller says `prune`.
 */
export const access = z
  .strictObject({
    version: z.literal(1).meta({ description: 'of this format' }),
    tunnels: z
      .array(z.strictObject({ name: tunnelName }))
      .max(MOST)
      .optional(),
    /** Made when missing, its secret answered once. The lifetime is that of a new one; a change of it changes nothing later. */
    serviceTokens: z
      .array(z.strictObject({ name, expiresInSeconds: lifetime.optional() }))
      .max(MOST)
      .optional(),
    applications: z.array(wantedApplication).max(MOST).optional(),
  })
  .meta({ id: 'Access' })

export const wantedChange = z
  .strictObject({
    access,
    /** Says what would change, and changes nothing. */
    dryRun: z.boolean().default(false),
    /** Of the kinds that are mentioned, removes (or, of service tokens, revokes) what is not listed. */
    prune: z.boolean().default(false),
    /** Refused with CONFLICT unless the edge is still at this version: what was shown is what is done. */
    ifVersion: z.int().optional(),
  })
  .meta({ id: 'WantedChange' })

const kind = z.enum(['tunnel', 'service-token', 'application'])

export const change = z
  .object({
    action: z.enum(['create', 'update', 'delete']),
    kind,
    name: z.string(),
    before: z.json().optional(),
    after: z.json().optional(),
  })
  .meta({ id: 'Change' })

export const applied = z
  .object({
    /** The edge’s version that was compared with, or, when it was done, the new one. */
    version: z.int(),
    done: z.boolean(),
    changes: z.array(change),
    /** Of the kinds that are mentioned: what is there and not listed. */
    unlisted: z.array(z.object({ kind, name: z.string() })),
    /** Of service tokens that were made: shown once. */
    secrets: z.array(z.object({ name: z.string(), id: z.string(), secret: z.string() })),
  })
  .meta({ id: 'Applied' })

export type Access = z.input<typeof access>
export type WantedApplication = z.infer<typeof wantedApplication>
export type WantedChange = z.input<typeof wantedChange>
export type AccessChange = z.infer<typeof change>
export type Applied = z.infer<typeof applied>
