import { z } from 'zod'
import { applicationOptions } from './access.ts'
import { enrolledConnector, fingerprint, identity } from './connectors.ts'
import { groupName, members, rules } from './rules.ts'
import { hostname, instant, protocolName, role, sessionLength, tunnelName } from './words.ts'

/** What the edge answers with. Answers may gain members: a client ignores what it does not know. */

const lives = { createdAt: instant.optional(), expiresAt: instant.optional(), revokedAt: instant.optional() }

/** A running daemon, as the edge sees it. What it says of itself (`id`, `version`) is its own word. */
export const connector = z
  .object({
    id: z.string(),
    version: z.string().optional(),
    /** Of its first connection. */
    remoteAddress: z.string(),
    /** Of all its connections: two may be one machine with two ways out, or two that say the same id. */
    remoteAddresses: z.array(z.string()),
    since: instant,
    connections: z.int(),
    /** The tunnel token it came with. */
    tokenId: z.string().optional(),
    /** Of the certificate it proved: its id is that certificate’s then, and not its own word. */
    fingerprint: fingerprint.optional(),
  })
  .meta({ id: 'Connector' })

export const tunnel = z
  .object({
    name: tunnelName,
    createdAt: instant.optional(),
    /** Whether a daemon takes connections now. */
    online: z.boolean(),
    connectors: z.array(connector),
    identity: identity.optional(),
    /** Whether its daemons need a certificate beside their token: from the first that was enrolled on. */
    needsCertificate: z.boolean().default(false),
    enrolled: z.array(enrolledConnector).default([]),
    applications: z.array(hostname),
    tokens: z.array(z.object({ id: z.string(), ...lives })),
  })
  .meta({ id: 'Tunnel' })

export const application = z
  .object({
    hostname,
    tunnel: tunnelName,
    protocols: z.array(protocolName),
    rules,
    options: applicationOptions.optional(),
    createdAt: instant.optional(),
    online: z.boolean(),
  })
  .meta({ id: 'Application' })

/** Selectors that rules share, as `inGroup`. */
export const group = z
  .object({
    name: groupName,
    selectors: members,
    /** Applications whose rules name it, and groups that do. */
    applications: z.array(hostname),
    groups: z.array(groupName),
    /** Whether the people who administer are named by it. */
    administrators: z.boolean(),
  })
  .meta({ id: 'Group' })

export const serviceToken = z
  .object({
    id: z.string(),
    name: z.string(),
    ...lives,
    /** After a rotation: until when the secret before it is good. */
    previousUntil: instant.optional(),
  })
  .meta({ id: 'ServiceToken' })

export const adminToken = z.object({ id: z.string(), name: z.string(), role, ...lives }).meta({ id: 'AdminToken' })

export const auditRow = z
  .object({
    sequence: z.int(),
    at: instant,
    class: z.enum(['change', 'traffic']),
    action: z.string(),
    actor: z.string().optional(),
    hostname: z.string().optional(),
    requestId: z.string().optional(),
    remoteAddress: z.string().optional(),
    allowed: z.boolean().optional(),
    code: z.string().optional(),
    detail: z.json().optional(),
  })
  .meta({ id: 'AuditRow' })

/** A secret that is shown once and kept nowhere. */
export const shownServiceToken = serviceToken.extend({ secret: z.string() }).meta({ id: 'ShownServiceToken' })
export const shownAdminToken = adminToken.extend({ token: z.string() }).meta({ id: 'ShownAdminToken' })
export const shownTunnelToken = z
  .object({ tunnel: tunnelName, id: z.string(), token: z.string() })
  .meta({ id: 'ShownTunnelToken' })

/** A plugin by somebody else, in a thread of its own. Counts since the edge started. */
const plugin = z
  .object({
    kind: z.enum(['auth', 'transport', 'protocol']),
    name: z.string(),
    package: z.string(),
    version: z.string().optional(),
    /** `restarting`: its thread ended and is started again soon; `open`: it ends again and again, and is tried seldom. */
    state: z.enum(['running', 'restarting', 'open']),
    asked: z.int(),
    /** Answers that were none: of a verifier, each denied. */
    failed: z.int(),
    restarts: z.int(),
    /** Why its thread ended last. */
    because: z.string().optional(),
  })
  .meta({ id: 'PluginStatus' })

export const status = z
  .object({
    /** Of the edge program. */
    software: z.string(),
    teamDomain: hostname,
    /** Address and port it listens on. */
    listen: z.string(),
    /** Its team domain, with the public port; the issuer of the people in its directory. */
    url: z.string(),
    /** Whether its certificate is of the CA in its own folder, `ca/ca.pem`, which others do not trust. */
    ownCa: z.boolean(),
    /** Counts changes; see `ifVersion`. */
    version: z.int(),
    applications: z.int(),
    tunnels: z.int(),
    /** Daemons, of however many connections each. */
    connectors: z.int(),
    sessions: z.int(),
    /** False while nobody is let in because the audit log cannot be written. */
    auditable: z.boolean(),
    /** Those by others; absent from an older edge. */
    plugins: z.array(plugin).optional(),
  })
  .meta({ id: 'Status' })

export const settings = z
  .object({
    /** Days that the audit log keeps who came; changes stay for ever. 36,500 is a hundred years. */
    auditDays: z.int().min(1).max(36_500),
    /** Seconds from a person’s sign-in until they sign in again, where an application does not say otherwise. */
    sessionSeconds: sessionLength,
    /** Seconds without use after which they sign in again; absent: no such end. */
    sessionIdleSeconds: sessionLength.optional(),
    /** Who administers in the browser: selectors of people. */
    administrators: members,
  })
  .meta({ id: 'Settings' })

/** What is not mentioned stays. */
export const wantedSettings = z
  .strictObject({
    ...settings.shape,
    /** `null`: none. */
    sessionIdleSeconds: sessionLength.nullable(),
  })
  .partial()
  .meta({ id: 'WantedSettings' })

/** Whoever asks. `local` is who opened the edge’s Unix socket. */
export const whoami = z.object({ actor: z.string(), role, expiresAt: instant.optional() }).meta({ id: 'Whoami' })

export type Connector = z.infer<typeof connector>
export type Tunnel = z.infer<typeof tunnel>
export type Application = z.infer<typeof application>
export type Group = z.infer<typeof group>
export type ServiceToken = z.infer<typeof serviceToken>
export type AdminToken = z.infer<typeof adminToken>
export type AuditRow = z.infer<typeof auditRow>
export type ShownServiceToken = z.infer<typeof shownServiceToken>
export type ShownAdminToken = z.infer<typeof shownAdminToken>
export type ShownTunnelToken = z.infer<typeof shownTunnelToken>
export type Status = z.infer<typeof status>
export type Settings = z.infer<typeof settings>
export type Whoami = z.infer<typeof whoami>
