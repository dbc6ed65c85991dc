import {
  ACTIONS,
  GROUP_NAME,
  LONGEST_TEXT,
  MOST_ENTRIES,
  MOST_IN_GROUP,
  MOST_RULES,
  MOST_SELECTORS,
} from '@postern/policy'
import { z } from 'zod'
import { tokenRef } from './words.ts'

const text = z.string().min(1).max(LONGEST_TEXT)
const list = <T extends z.ZodType>(entry: T) => z.array(entry).min(1).max(MOST_ENTRIES)
const scalar = z.union([z.string().max(LONGEST_TEXT), z.number(), z.boolean()])
const claim = { name: text, issuer: text.exactOptional() }

/** Of selectors that rules share: a rule names them as `inGroup`. What a provider calls a group is another thing. */
export const groupName: z.ZodString = z
  .string()
  .regex(GROUP_NAME)
  .meta({
    description: '1–64 letters, digits, spaces and ._@+-, beginning with a letter or digit',
    examples: ['staff'],
  })

/** All that is given must be so of one certificate; at least one is. */
const certificate = z
  .strictObject({
    ca: text.exactOptional(),
    commonName: text.exactOptional(),
    dns: text.exactOptional(),
    email: text.exactOptional(),
    uri: text.exactOptional(),
    ip: text.exactOptional(),
    fingerprint: text.exactOptional(),
    issuer: text.exactOptional(),
  })
  .meta({ minProperties: 1 })

/** Who or what a rule speaks of; the policy package says what each means. */
const selector = z
  .union([
    z.strictObject({ serviceToken: tokenRef }),
    z.strictObject({ anyServiceToken: z.literal(true) }),
    z.strictObject({ certificate }),
    z.strictObject({ identity: z.strictObject({ issuer: text, subject: text }) }),
    z.strictObject({ everyone: z.literal(true) }),
    z.strictObject({ email: text }),
    z.strictObject({ emailDomain: text }),
    z.strictObject({ group: text }),
    z.strictObject({ provider: text }),
    z.strictObject({
      claim: z.union([
        z.strictObject({ ...claim, equals: scalar }),
        z.strictObject({ ...claim, in: list(scalar) }),
        z.strictObject({ ...claim, matches: text }),
      ]),
    }),
    z.strictObject({ address: list(text) }),
    z.strictObject({ path: list(text) }),
    z.strictObject({ method: list(text) }),
    z.strictObject({ inGroup: groupName }),
  ])
  .meta({ id: 'Selector' })

const selectors = z.array(selector).max(MOST_SELECTORS)
/** Of a group, or of the people who administer. */
export const members = z.array(selector).max(MOST_IN_GROUP)

/**
 * A rule as it is sent. Its shape is checked here, what it means by `checkRules` of the policy package. A service token may be
 * named by its name; the edge keeps, and answers with, its id.
 */
export const rule = z
  .strictObject({
    name: z.string().min(1).max(64),
    action: z.enum(ACTIONS),
    include: selectors,
    require: selectors.optional(),
    exclude: selectors.optional(),
    permit: z.json().optional(),
  })
  .meta({ id: 'Rule' })

export const rules = z.array(rule).max(MOST_RULES)
