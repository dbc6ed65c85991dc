import { z } from 'zod'

/** What a bearer may do: a viewer reads, an admin changes. An admin is a viewer too. */
export const role = z.enum(['viewer', 'admin']).meta({ description: 'a viewer reads, an admin changes' })
export type Role = z.infer<typeof role>

/** A name for people: 1–64 printable ASCII characters, beginning with a letter or digit. It cannot be mistaken for an id. */
export const name = z
  .string()
  .regex(/^(?!pst_|pat_)[A-Za-z0-9][A-Za-z0-9 ._@+-]{0,63}$/)
  .meta({ description: '1–64 letters, digits, spaces and ._@+-, beginning with a letter or digit', examples: ['ci'] })

export const tunnelName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,62}$/)
  .meta({ description: '1–63 lower-case letters, digits and hyphens', examples: ['home'] })

/** Its grammar is the edge’s to check: here only what no hostname exceeds (RFC 1035 §2.3.4). */
export const hostname = z
  .string()
  .min(1)
  .max(253)
  .meta({ examples: ['db.example.com'] })

export const protocolName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,31}$/)
  .meta({ examples: ['ssh'] })

/** A service token by its id, or by the name it was given. */
export const tokenRef = z.string().min(1).max(64).meta({ description: 'a service token’s id or name' })

/** RFC 3339, in UTC. */
export const instant = z.iso.datetime().meta({ examples: ['2026-11-21T21:00:00.000Z'] })

/** Ten years: what is meant to last longer is not meant to expire. */
const LONGEST_LIFE = 10 * 366 * 86_400
export const lifetime = z
  .int()
  .min(1)
  .max(LONGEST_LIFE)
  .meta({ description: 'seconds, 1 to 316224000', examples: [7_776_000] })
/** Seconds an old secret stays good beside its successor. */
export const overlap = z
  .int()
  .min(0)
  .max(30 * 86_400)
  .meta({ description: 'seconds the old secret stays good, 0 to 2592000', examples: [3600] })

/** Seconds that somebody is let in: a minute to ten years. */
export const sessionLength = z
  .int()
  .min(60)
  .max(LONGEST_LIFE)
  .meta({ description: 'seconds, 60 to 316224000', examples: [86_400] })

/** An address as the edge compares it is the edge’s to check: here only what none exceeds (RFC 5321 §4.5.3.1). */
export const email = z
  .string()
  .min(3)
  .max(254)
  .meta({ examples: ['ann@example.com'] })

/** What is shown of a person: one line. */
export const personName = z
  .string()
  .min(1)
  .max(100)
  .regex(/^[^\p{C}\u2028\u2029]+$/u)
  .meta({ description: '1–100 characters, no control characters', examples: ['Ann Example'] })

/** One line of text. */
export const line = z
  .string()
  .min(1)
  .max(300)
  .regex(/^[^\p{C}\u2028\u2029]+$/u)
  .meta({ description: '1–300 characters, no control characters' })

export const providerId = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,31}$/)
  .meta({ description: '1–32 lower-case letters, digits and hyphens', examples: ['example'] })
