import { MOST_RULES, MOST_SELECTORS } from '@postern/policy'
import { z } from 'zod'
import { tokenRef } from './words.ts'

const selector = z
  .union([
    z.strictObject({ serviceToken: tokenRef }),
    z.strictObject({ anyServiceToken: z.literal(true) }),
    z.strictObject({ identity: z.strictObject({ issuer: z.string().min(1), subject: z.string().min(1) }) }),
  ])
  .meta({ id: 'Selector' })

const selectors = z.array(selector).max(MOST_SELECTORS)

/**
 * A rule as it is sent. Its shape is checked here, what it means by `checkRules` of the policy package. A service token may be
 * named by its name; the edge keeps, and answers with, its id.
 */
export const rule = z
  .strictObject({
    name: z.string().min(1).max(64),
    action: z.enum(['allow', 'deny']),
    include: selectors,
    require: selectors.optional(),
    exclude: selectors.optional(),
    permit: z.json().optional(),
  })
  .meta({ id: 'Rule' })

export const rules = z.array(rule).max(MOST_RULES)
