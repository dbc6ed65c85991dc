import type { WantedApplication } from '@postern/admin'
import { type Json, PosternError, type ProtocolRules } from '@postern/interface'
import { checkRules, type Groups, type Rule, type Selector } from '@postern/policy'
import type { Snapshot } from '@postern/store'
import { authoritiesIn } from '../certificates/authorities.ts'
import { serviceTokensOf } from './records.ts'
import { type FindToken, tokenFinder } from './service-tokens.ts'

/** What rules may name. */
export interface Known {
  readonly findToken: FindToken
  /** The name of a CA, by that or by its id. */
  readonly findAuthority: (idOrName: string) => string | undefined
  readonly groups: Groups
  readonly protocols: Protocols
}

/** What may be permitted inside a protocol, by its name. Of others nothing is known, and everything may. */
export type Protocols = ReadonlyMap<string, Pick<ProtocolRules, 'check'>>

export function knownIn(snapshot: Snapshot, { protocols }: Pick<Known, 'protocols'>): Known {
  const findToken = tokenFinder(serviceTokensOf(snapshot))
  return { findToken, findAuthority: authorityFinder(snapshot), groups: snapshot.groups, protocols }
}

export function authorityFinder(snapshot: Snapshot): Known['findAuthority'] {
  return idOrName => authoritiesIn(snapshot).find(idOrName)?.name
}

/**
 * Rules as they are kept: service tokens by id, CAs by name.
 *
 * @throws PosternError BAD_USAGE: no such token or CA, or rules that cannot be
 */
export function readRules(sent: WantedApplication['rules'], known: Known, hostname?: string): readonly Rule[] {
  const { groups, protocols } = known
  const about = hostname === undefined ? '' : `${hostname}: `
  const rules = sent.map((rule, index): Rule => {
    const read = (list: 'include' | 'require' | 'exclude') =>
      rule[list] && readSelectors(rule[list], known, `${about}rules[${index}].${list}`)
    const [require, exclude] = [read('require'), read('exclude')]
    return {
      name: rule.name,
      action: rule.action,
      include: read('include') ?? [],
      ...(require !== undefined && { require }),
      ...(exclude !== undefined && { exclude }),
      ...(rule.permit !== undefined && { permit: rule.permit }),
    }
  })
  const [wrong] = [...checkRules(rules, groups), ...checkPermits(rules, protocols)]
  if (wrong !== undefined) throw badUsage(`${about}${wrong}`)
  return rules
}

function checkPermits(rules: readonly Rule[], protocols: Protocols): string[] {
  return rules.flatMap(({ permit }, index) =>
    [...protocols].flatMap(([name, protocol]) => {
      const isAbout = typeof permit === 'object' && permit !== null && Object.hasOwn(permit, name)
      const own = isAbout ? (permit as { readonly [key: string]: Json })[name] : undefined
      const wrong = own === undefined ? [] : protocol.check(own)
      return wrong.map(one => `rule ${index + 1}: permit: ${one}`)
    }),
  )
}

/**
 * Selectors as they are kept: service tokens by id, CAs by name.
 *
 * @param where what a mistake is told of, before its place in the list
 * @throws PosternError BAD_USAGE: no such token or CA
 */
export function readSelectors(
  sent: Sent,
  { findToken, findAuthority }: Pick<Known, 'findToken' | 'findAuthority'>,
  where: string,
): readonly Selector[] {
  return sent.map((selector, place): Selector => {
    if ('serviceToken' in selector) {
      const id = findToken(selector.serviceToken)
      if (id !== undefined) return { serviceToken: id }
      throw badUsage(`${where}[${place}]: no service token ${JSON.stringify(selector.serviceToken)}`)
    }
    if (!('certificate' in selector) || selector.certificate.ca === undefined) return selector
    const ca = findAuthority(selector.certificate.ca)
    if (ca !== undefined) return { certificate: { ...selector.certificate, ca } }
    throw badUsage(`${where}[${place}]: no certificate authority ${JSON.stringify(selector.certificate.ca)}`)
  })
}

type Sent = WantedApplication['rules'][number]['include']

/** Selectors as they are sent. @param nameOf of a service token, by id */
export function sentSelectors(selectors: readonly Selector[], nameOf: (id: string) => string): Sent {
  return selectors.map(one => ('serviceToken' in one ? { serviceToken: nameOf(one.serviceToken) } : one)) as Sent
}

/** Rules as they are sent. @param nameOf of a service token, by id */
export function sentRules(rules: readonly Rule[], nameOf: (id: string) => string): WantedApplication['rules'] {
  const sent = (selectors: readonly Selector[]) => sentSelectors(selectors, nameOf)
  return rules.map(({ include, require, exclude, ...rule }) => ({
    ...rule,
    include: sent(include),
    ...(require !== undefined && { require: sent(require) }),
    ...(exclude !== undefined && { exclude: sent(exclude) }),
  })) as WantedApplication['rules']
}

interface Named {
  readonly name: string
}

/**
 * What an audit row says of a change of rules: those that were and those that are instead; where only their order is another, the
 * names in it.
 *
 * @param most characters of JSON for either; of a rule that is too long for them the name is said
 */
export function rulesChanged(before: readonly Named[], after: readonly Named[], most: number): Json {
  const without = (rules: readonly Named[], others: readonly Named[]) => {
    const known = new Set(others.map(rule => JSON.stringify(rule)))
    return rules.filter(rule => !known.has(JSON.stringify(rule)))
  }
  const [gone, come] = [without(before, after), without(after, before)]
  const isOrder = gone.length + come.length === 0 && before.some(({ name }, at) => name !== after[at]?.name)
  if (!isOrder) return { before: told(gone, most), after: told(come, most) }
  const names = (rules: readonly Named[]) =>
    told(
      rules.map(({ name }) => ({ name })),
      most,
    )
  return { before: names(before), after: names(after) }
}

function told(rules: readonly Named[], most: number): Json[] {
  const short = rules.map(rule =>
    JSON.stringify(rule).length <= most / 2 ? { ...rule } : { name: rule.name, left: 'out' },
  )
  return fitting(short, most)
}

/** The first of a list, as many as fit into so many characters of JSON; then how many more there are. */
export function fitting(list: readonly Json[], most: number): Json[] {
  let left = most - 20
  const fits = list.findIndex(one => {
    left -= JSON.stringify(one).length + 1
    return left < 0
  })
  return fits < 0 ? [...list] : [...list.slice(0, fits), { more: list.length - fits }]
}

function badUsage(message: string): PosternError {
  return new PosternError('BAD_USAGE', message, { speaker: 'edge' })
}
