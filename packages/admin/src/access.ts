import { MOST_GROUPS } from '@postern/policy'
import { z } from 'zod'
import { groupName, members, rules } from './rules.ts'
import { hostname, lifetime, line, name, personName, protocolName, sessionLength, tunnelName } from './words.ts'

const MOST = 10_000

/** How an application is served. What is absent has its default. */
export const applicationOptions = z
  .strictObject({
    /** What people read instead of the hostname. */
    name: personName.exactOptional(),
    /** Whom to ask for access, for the page that says no: an address, a link or a sentence. */
    contact: line.exactOptional(),
    /** Seconds from a person’s sign-in until it ends here; default: as long as the team’s sign-in. */
    sessionSeconds: sessionLength.exactOptional(),
    /** Seconds without use until a person signs in again; default: no such end. */
    idleSeconds: sessionLength.exactOptional(),
    /** Whether `Authorization: Bearer` is judged here, and does not reach the origin. */
    authorizationHeader: z.boolean().exactOptional(),
    /** Whether CORS preflights, which carry no credential, reach the origin. */
    preflight: z.boolean().exactOptional(),
    /** Origins besides its own whose pages may open WebSockets here (RFC 6454 §6.1). */
    upgradeOrigins: z
      .array(z.string().regex(/^https?:\/\/[a-z0-9.-]{1,253}(?::[1-9][0-9]{0,4})?$/))
      .max(100)
      .exactOptional(),
  })
  .meta({ id: 'ApplicationOptions' })

/** An application as it is wanted. Protocols default to `tcp`; without rules it lets nobody in. */
export const wantedApplication = z
  .strictObject({
    hostname,
    tunnel: tunnelName,
    protocols: z.array(protocolName).min(1).max(16).default(['tcp']),
    rules: rules.default([]),
    options: applicationOptions.optional(),
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
    /** Selectors that rules share, as `inGroup`. */
    groups: z
      .array(z.strictObject({ name: groupName, selectors: members }))
      .max(MOST_GROUPS)
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

const kind = z.enum(['tunnel', 'service-token', 'group', 'application'])

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
export type ApplicationOptions = z.infer<typeof applicationOptions>
export type WantedApplication = z.infer<typeof wantedApplication>
export type WantedChange = z.input<typeof wantedChange>
export type AccessChange = z.infer<typeof change>
export type Applied = z.infer<typeof applied>
