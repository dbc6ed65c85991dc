import { type Json, PosternError } from '@postern/interface'
import { nearest } from '@postern/options'
import type { ConfigFile } from '@postern/program'
import type { StreamPurpose } from '@postern/tunnel'
import { type DefaultPort, type Mode, readMode, readService } from './ingress.ts'
import { type Mistakes, nameOf } from './mistakes.ts'
import { covers, matches, type Pattern, readHostnamePattern, readPath, shareHostnames, showPattern } from './pattern.ts'

/** Thousands of rules would be a program's work; and each is compared with each before it for rules that nobody reaches. */
const MOST_RULES = 1000

const KEYS = ['hostname', 'path', 'service', 'mode', 'options']

/** Schemes whose services speak HTTP. */
const WEB: readonly string[] = ['http:', 'https:']

/** One rule of a config file. */
export interface FileRule extends Pattern {
  /** Counted from 1. */
  readonly number: number
  /** `file.yaml:12:5` */
  readonly where: string
  /** What answers: a service, or an HTTP status that the daemon says itself. */
  readonly service: URL | number
  /** Of bytes only: how they may be reached. Absent: end-to-end and through the edge. */
  readonly mode?: Mode
  /** Which streams it is for: bytes, requests or both. */
  readonly purposes: readonly StreamPurpose[]
  /** `options:` as written; what it may say is the protocol’s to know. */
  readonly said?: Readonly<Record<string, Json>>
  /** The same as the protocol reads it, with its defaults. */
  readonly options?: Readonly<Record<string, unknown>>
}

/**
 * A scheme says whether its service gets bytes or requests. A Unix socket may speak HTTP or not, and takes both, unless something
 * about it is HTTP: whoever got bytes through to it would pass by that. `http_status` answers requests, and where it is for every
 * path it also says that bytes have nobody.
 */
export function purposesOf(
  { segments, service, mode, said, ...pattern }: Pick<FileRule, 'hostname' | 'segments' | 'service' | 'mode' | 'said'>,
  earlier: readonly FileRule[] = [],
): readonly StreamPurpose[] {
  if (typeof service === 'number') return segments.length > 0 ? ['http'] : ['tcp', 'http']
  if (WEB.includes(service.protocol)) return ['http']
  // The edge reads every request, so what nobody but the client may read gets bytes alone.
  if (service.protocol !== 'unix:' || mode === 'end-to-end') return ['tcp']
  const isHttp =
    segments.length > 0 ||
    said !== undefined ||
    earlier.some(one => !one.purposes.includes('tcp') && shareHostnames(one, { ...pattern, segments }))
  return isHttp ? ['http'] : ['tcp', 'http']
}

/** The first rule for this hostname and path, and kind of stream where one is said. */
export function ruleFor(
  rules: readonly FileRule[],
  purpose: StreamPurpose | undefined,
  hostname: string,
  segments: readonly string[],
): FileRule | undefined {
  return rules.find(rule => (!purpose || rule.purposes.includes(purpose)) && matches(rule, hostname, segments))
}

/** Reads `ingress:`. What is wrong with it goes to `mistakes`, and the rule is left out. */
export function readIngress(
  file: ConfigFile,
  value: Json | undefined,
  port: DefaultPort,
  mistakes: Mistakes,
): FileRule[] {
  if (value === undefined || value === null) {
    mistakes.add(['ingress'], 'there is no ingress: a list of rules, each with hostname and service')
    return []
  }
  if (!Array.isArray(value) || value.length === 0) {
    mistakes.add(['ingress'], 'ingress is not a list of rules, at least one, each with hostname and service')
    return []
  }
  if (value.length > MOST_RULES) mistakes.add(['ingress', MOST_RULES], `more than ${MOST_RULES} rules`)
  const rules: FileRule[] = []
  for (const [index, item] of value.slice(0, MOST_RULES).entries()) {
    const read = readFileRule(file, item, index, index === value.length - 1, port, mistakes)
    if (!read) continue
    const rule = { ...read, purposes: purposesOf(read, rules) }
    const shadow = rules.find(
      earlier => covers(earlier, rule) && rule.purposes.every(one => earlier.purposes.includes(one)),
    )
    if (shadow) mistakes.add(['ingress', index], shadowed(rule, shadow))
    rules.push(rule)
  }
  return rules
}

function shadowed(rule: FileRule, by: FileRule): string {
  const same = showPattern(rule) === showPattern(by)
  const who = `rule ${rule.number} (${showPattern(rule)}) is never reached`
  return same
    ? `${who}: rule ${by.number} is for the same`
    : `${who}: rule ${by.number} (${showPattern(by)}) answers all of it; put the special one first`
}

function readFileRule(
  file: ConfigFile,
  item: Json,
  index: number,
  isLast: boolean,
  port: DefaultPort,
  mistakes: Mistakes,
): Omit<FileRule, 'purposes'> | undefined {
  const at = (key?: string) => ['ingress', index, ...(key === undefined ? [] : [key])]
  if (item === null || typeof item !== 'object' || Array.isArray(item)) {
    mistakes.add(at(), 'a rule has hostname and service, and may have a path and options')
    return undefined
  }
  const fields = item as Readonly<Record<string, Json>>
  const before = mistakes.count
  for (const key of Object.keys(fields)) if (!KEYS.includes(key)) mistakes.add(at(key), unknownKey(key))
  const text = (key: string): string | undefined => {
    const value = fields[key]
    if (typeof value === 'string' && value !== '') return value
    if (value !== undefined) mistakes.add(at(key), `${key} is not a text`)
    return undefined
  }
  const [hostname, path, service, written] = ['hostname', 'path', 'service', 'mode'].map(text)
  const said = isMapping(fields.options) ? fields.options : undefined
  if (fields.options !== undefined && !said) mistakes.add(at('options'), 'options is not a list of keys')
  if (fields.service === undefined) mistakes.add(at(), 'the rule has no service')
  const target = service === undefined ? undefined : mistakes.try(at('service'), () => readTarget(service, port))
  const name = hostname === undefined ? undefined : mistakes.try(at('hostname'), () => readHostnamePattern(hostname))
  const segments = path === undefined ? [] : mistakes.try(at('path'), () => readPath(path))
  if (fields.hostname === undefined && !(isLast && typeof target === 'number'))
    mistakes.add(at(), 'the rule has no hostname; only the last one may be for all, with http_status')
  if (path !== undefined && target instanceof URL && !hasPaths(target))
    mistakes.add(at('path'), `a path is part of HTTP; ${target.protocol} carries bytes`)
  if (said && target instanceof URL && !hasPaths(target))
    mistakes.add(at('options'), `options are of HTTP services; ${target.protocol} carries bytes`)
  const mode = written === undefined ? undefined : mistakes.try(at('mode'), () => readMode(written))
  const isWeb = typeof target === 'number' || (target && WEB.includes(target.protocol)) || path !== undefined || said
  if (mode === 'end-to-end' && isWeb)
    mistakes.add(at('mode'), 'end-to-end is for services of bytes: the edge reads the requests of HTTP applications')
  if (mistakes.count > before || target === undefined || segments === undefined) return undefined
  const number = index + 1
  const where = file.where(at())
  return {
    number,
    where,
    segments,
    service: target,
    ...(name !== undefined && { hostname: name }),
    ...(mode && { mode }),
    ...(said && { said }),
  }
}

function unknownKey(key: string): string {
  const meant = nearest(key, KEYS)
  return `${nameOf(key)} is not a key of a rule; ${meant ? `did you mean ${meant}?` : `there are ${KEYS.join(', ')}`}`
}

/** @throws PosternError OPTION_INVALID */
function readTarget(text: string, port: DefaultPort): URL | number {
  const status = /^http_status:(.*)$/.exec(text)?.[1]
  if (status === undefined) return readService(text, port)
  if (/^[2-5]\d\d$/.test(status)) return Number(status)
  throw new PosternError(
    'OPTION_INVALID',
    `the service ${JSON.stringify(text.slice(0, 100))} is no status from 200 to 599`,
  )
}

function hasPaths({ protocol }: URL): boolean {
  return protocol === 'unix:' || WEB.includes(protocol)
}

function isMapping(value: Json | undefined): value is Readonly<Record<string, Json>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
