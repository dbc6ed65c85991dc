import { nearest } from '@postern/options'
import { z } from 'zod'

/** What is wrong with a value, and where in it. */
export interface Mistake {
  readonly path: readonly (string | number)[]
  /** `is missing`, `is not a text`: what to say behind the name of the place. */
  readonly message: string
}

type Issue = z.core.$ZodIssue

/**
 * Every mistake of a value in the words of people, in the order of the schema. Values are not repeated: one may be a secret.
 *
 * @param most told; each costs a search for the word that was meant
 * @returns empty where the schema takes the value
 */
export function mistakesIn(schema: z.ZodType, value: unknown, most = 100): readonly Mistake[] {
  const { error } = schema.safeParse(value, { reportInput: true })
  const issues = error?.issues.slice(0, most).map(issue => firstKeys(issue, most)) ?? []
  return issues.flatMap(issue => tell(issue, [], schema)).slice(0, most)
}

function firstKeys(issue: Issue, most: number): Issue {
  return issue.code === 'unrecognized_keys' ? { ...issue, keys: issue.keys.slice(0, most) } : issue
}

function tell(issue: Issue, above: readonly (string | number)[], schema: z.ZodType): Mistake[] {
  const path = [...above, ...issue.path.filter(step => typeof step !== 'symbol')]
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map(key => ({ path: [...path, key], message: unknownKey(key, schema) }))
  if (issue.code === 'invalid_union') {
    const [meant] = issue.errors.toSorted((a, b) => weight(a) - weight(b)) // the form it comes closest to
    if (meant?.length) return meant.flatMap(inner => tell(inner, path, schema))
  }
  return [{ path, message: say(issue) }]
}

function weight(issues: readonly Issue[]): number {
  return issues.reduce((sum, issue) => sum + (issue.code === 'unrecognized_keys' ? issue.keys.length : 1), 0)
}

function say(issue: Issue): string {
  if (issue.code === 'invalid_type')
    return issue.input === undefined ? 'is missing' : `is not ${TYPES[issue.expected] ?? `of type ${issue.expected}`}`
  if (issue.code === 'invalid_value') return `is not ${issue.values.map(one => JSON.stringify(one)).join(' or ')}`
  if (issue.code === 'too_big') return bound(issue.origin, 'more', issue.maximum)
  if (issue.code === 'too_small') return bound(issue.origin, 'less', issue.minimum)
  if (issue.code === 'invalid_format' && issue.format === 'regex') return `does not have the form ${issue.pattern}`
  return `is wrong: ${issue.message}`
}

function bound(origin: string, way: 'more' | 'less', limit: number | bigint): string {
  if (origin === 'string') return `has ${way} than ${limit} characters`
  return origin === 'array' ? `has ${way} than ${limit} entries` : `is ${way} than ${limit}`
}

const TYPES: Readonly<Record<string, string>> = {
  string: 'a text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a map of keys and values',
}

function unknownKey(key: string, schema: z.ZodType): string {
  const meant = nearest(key, namesIn(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' })))
  return `is not known${meant === undefined ? '' : `; did you mean ${meant}?`}`
}

/** Every name that a member has anywhere in what the schema describes. */
function namesIn(schema: unknown): string[] {
  if (typeof schema !== 'object' || schema === null) return []
  return Object.entries(schema).flatMap(([key, value]) =>
    key === 'properties' ? [...Object.keys(value as object), ...namesIn(value)] : namesIn(value),
  )
}
