import { z } from 'zod'
import { email, instant, line, personName, providerId } from './words.ts'

/** Who signs in, and what of it: answers and what is wanted. */

const text = z.string().min(1).max(512)

/** What a provider, or the directory, calls somebody’s groups. */
const groupsOfPerson = z.array(z.string().min(1).max(128)).max(100)

export const user = z
  .object({
    /** The subject that policies and sessions know. */
    id: z.string(),
    email: z.string(),
    name: z.string().optional(),
    groups: z.array(z.string()),
    createdAt: instant.optional(),
    disabledAt: instant.optional(),
    /** Whether there is a password: somebody who was invited, or reset, has none until they open their link. */
    hasPassword: z.boolean(),
    /** Until when the one-time link that was made last is good. */
    linkUntil: instant.optional(),
  })
  .meta({ id: 'User' })

/** With a one-time link that is shown once and kept nowhere. Whoever opens it first sets the password. */
export const invitedUser = user.extend({ link: z.url() }).meta({ id: 'InvitedUser' })

export const wantedInvitation = z
  .strictObject({ email, name: personName.optional(), groups: groupsOfPerson.default([]) })
  .meta({ id: 'WantedInvitation' })

/** What is not mentioned stays. */
export const wantedUser = z
  .strictObject({
    name: personName.optional(),
    groups: groupsOfPerson.optional(),
    disabled: z.boolean().optional(),
  })
  .meta({ id: 'WantedUser' })

export const session = z
  .object({
    id: z.string(),
    /** Together the key of the person. */
    issuer: z.string(),
    subject: z.string(),
    name: z.string().optional(),
    email: z.string().optional(),
    via: z.enum(['browser', 'cli', 'device']),
    createdAt: instant,
    /** When the person last proved who they are. */
    authenticatedAt: instant,
    expiresAt: instant,
    seenAt: instant.optional(),
    remoteAddress: z.string(),
    /** As the browser calls itself. */
    userAgent: z.string().optional(),
    /** Those it was let into. */
    applications: z.array(z.string()),
  })
  .meta({ id: 'Session' })

/** Which sessions: exactly one way to say it. */
export const wantedSessions = z
  .union([
    z.strictObject({ session: z.string().min(1).max(64) }),
    z.strictObject({ email }),
    z.strictObject({ issuer: text, subject: text }),
    z.strictObject({ application: z.string().min(1).max(253) }),
  ])
  .meta({ id: 'WantedSessions' })

export const provider = z
  .object({
    id: providerId,
    /** On the sign-in page. */
    name: z.string(),
    issuer: z.string(),
    clientId: z.string(),
    /** Whether one is kept; it is never shown. */
    hasSecret: z.boolean(),
    scopes: z.array(z.string()).optional(),
    groupsClaim: z.string().optional(),
    trustEmail: z.boolean(),
    /** What the provider must be told: where people come back to, and where it says that somebody signed out there. */
    redirectUri: z.string(),
    logoutUri: z.string(),
  })
  .meta({ id: 'Provider' })

/** RFC 6749 §3.3: printable ASCII without space, quote and backslash. */
const scope = z.string().regex(/^[!#-[\]-~]{1,128}$/)

export const wantedProvider = z
  .strictObject({
    name: line.max(64),
    /** As its discovery document says it (OpenID Connect Discovery §4.3): https, without query and fragment. */
    issuer: text,
    clientId: z.string().regex(/^[ -~]{1,512}$/),
    /** Left out: the one there is stays, or there is none. */
    clientSecret: z
      .string()
      .regex(/^[ -~]{1,2048}$/)
      .optional(),
    /** Default: openid, profile, email. */
    scopes: z.array(scope).max(20).optional(),
    /** The claim that lists a person’s groups; without it, nobody from here has any. */
    groupsClaim: z.string().min(1).max(256).optional(),
    /** Whether an email counts also where the provider does not say if it is verified. */
    trustEmail: z.boolean().default(false),
  })
  .meta({ id: 'WantedProvider' })

export const signingKey = z
  .object({
    id: z.string(),
    algorithm: z.string(),
    state: z.enum(['next', 'current', 'previous']),
    /** Since when it is in that state. */
    since: instant,
    /** Of a previous one: until when what it signed is good. */
    until: instant.optional(),
  })
  .meta({ id: 'SigningKey' })

export type User = z.infer<typeof user>
export type InvitedUser = z.infer<typeof invitedUser>
export type Session = z.infer<typeof session>
export type WantedSessions = z.input<typeof wantedSessions>
export type Provider = z.infer<typeof provider>
export type SigningKey = z.infer<typeof signingKey>
