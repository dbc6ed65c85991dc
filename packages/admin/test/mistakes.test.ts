import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { access } from '../src/access.ts'
import { mistakesIn } from '../src/index.ts'

const told = (schema: z.ZodType, value: unknown) =>
  mistakesIn(schema, value).map(({ path, message }) => `${path.join('.')} ${message}`)

describe('what is wrong with a value', () => {
  it('is nothing where the schema takes it', () => {
    expect(told(access, { version: 1, tunnels: [{ name: 'home' }] })).toEqual([])
  })

  it('is told all at once, with the place of each', () => {
    const rule = (include: unknown) => ({ name: 'x', action: 'alow', include })
    const value = {
      version: '1',
      tunels: [],
      tunnels: [{ name: 'Home' }, 7],
      serviceTokens: [{ name: 'ci', expiresInSeconds: 0 }],
      applications: [{ hostname: '', tunnel: 'home', protocols: [], rules: [rule([{ serviceTokn: 'ci' }])] }, {}],
    }
    expect(told(access, value)).toEqual([
      'version is not 1',
      'tunnels.0.name does not have the form /^[a-z0-9][a-z0-9-]{0,62}$/',
      'tunnels.1 is not a map of keys and values',
      'serviceTokens.0.expiresInSeconds is less than 1',
      'applications.0.hostname has less than 1 characters',
      'applications.0.protocols has less than 1 entries',
      'applications.0.rules.0.action is not "allow" or "deny" or "bypass" or "service"',
      'applications.0.rules.0.include.0.serviceToken is missing',
      'applications.0.rules.0.include.0.serviceTokn is not known; did you mean serviceToken?',
      'applications.1.hostname is missing',
      'applications.1.tunnel is missing',
      'tunels is not known; did you mean tunnels?',
    ])
  })

  it('is told by the form that it comes closest to', () => {
    const form = z.union([z.strictObject({ a: z.string() }), z.strictObject({ b: z.number(), c: z.boolean() })])
    expect(told(form, { b: 1, c: 'no' })).toEqual(['c is not true or false'])
    expect(told(form, { a: 1 })).toEqual(['a is not a text'])
  })

  it('never repeats a value, which may be a secret', () => {
    const value = { version: 'hunter2', applications: [{ hostname: 7, tunnel: 'hunter2 hunter2', rules: 'hunter2' }] }
    expect(told(access, value).join()).not.toContain('hunter2')
    expect(told(access, value)).not.toEqual([])
  })
})
