import { readFile } from 'node:fs/promises'
import type { OptionSpecs, Options, RuleFindings, RuleSpec } from '@postern/interface'

const CONNECT_TIMEOUT = 10_000
const RESPONSE_TIMEOUT = 100_000
/** What a timer can be set to, 24 days. */
const LONGEST = 2 ** 31 - 1

const OPTIONS = {
  hostHeader: { type: 'string', summary: 'the Host the service is told, instead of the application’s' },
  caFile: { type: 'path', summary: 'PEM file of the CA to trust for an https service, instead of the system’s' },
  serverName: { type: 'string', summary: 'the name that an https service’s certificate is for, if not its host' },
  noTlsVerify: {
    type: 'boolean',
    summary: 'take any certificate of an https service: whoever is in between reads all',
  },
  http2: { type: 'boolean', summary: 'speak HTTP/2 to the service, for gRPC' },
  requireIdentity: { type: 'boolean', summary: 'refuse requests without a valid postern-identity' },
  connectTimeout: { type: 'duration', summary: 'how long connecting may take, TLS included; 10s, and not more' },
  responseTimeout: {
    type: 'duration',
    summary:
      'how long the service may take to begin its answer after the last byte of the request; 100s, 0s is for ever',
  },
} as const satisfies OptionSpecs

/** What a rule’s `options:` say. */
export interface RuleOptions extends Options<typeof OPTIONS> {
  readonly connectTimeout: number
  readonly responseTimeout: number
}

/** What stands in an ingress rule besides its service. */
export const RULE: RuleSpec = { options: OPTIONS, check }

/** @param values as the host read them by {@link RULE}, or fewer of them */
export function ruleOptions(values: Readonly<Record<string, unknown>>): RuleOptions {
  const options = values as Partial<Options<typeof OPTIONS>>
  return {
    hostHeader: options.hostHeader,
    caFile: options.caFile,
    serverName: options.serverName,
    noTlsVerify: options.noTlsVerify,
    http2: options.http2,
    requireIdentity: options.requireIdentity,
    connectTimeout: options.connectTimeout ?? CONNECT_TIMEOUT,
    responseTimeout: options.responseTimeout ?? RESPONSE_TIMEOUT,
  }
}

async function check(service: URL | number, values: Readonly<Record<string, unknown>>): Promise<RuleFindings> {
  const options = ruleOptions(values)
  const { hostHeader, caFile, serverName, noTlsVerify, connectTimeout, responseTimeout } = options
  const mistakes: string[] = []
  const warnings: string[] = []
  const isTls = typeof service !== 'number' && service.protocol === 'https:'
  const given = Object.keys(OPTIONS).filter(name => values[name] !== undefined)
  if (typeof service === 'number') {
    const other = given.filter(name => name !== 'requireIdentity')
    if (other.length > 0) mistakes.push(`${other[0]} is about a service; http_status reaches none`)
  } else if (!isTls)
    for (const name of given)
      if (['caFile', 'serverName', 'noTlsVerify'].includes(name))
        mistakes.push(`${name} is about TLS, and ${service.protocol} has none; write https:`)
  if (hostHeader !== undefined && !isAuthority(hostHeader))
    mistakes.push('hostHeader is no hostname with or without a port')
  if (serverName !== undefined && !isHostname(serverName)) mistakes.push('serverName is no hostname')
  if (connectTimeout <= 0 || connectTimeout > CONNECT_TIMEOUT)
    mistakes.push('connectTimeout is above 0s and at most 10s')
  if (responseTimeout > LONGEST) mistakes.push('responseTimeout is at most 24 days; 0s is for ever')
  if (noTlsVerify && (caFile !== undefined || serverName !== undefined))
    mistakes.push('noTlsVerify takes any certificate; leave caFile and serverName out, or better noTlsVerify')
  else if (noTlsVerify)
    warnings.push(
      'noTlsVerify: whoever is between this daemon and the service can read and change all of it; caFile is better',
    )
  if (caFile !== undefined && !(await isPem(caFile))) mistakes.push('caFile cannot be read, or holds no certificate')
  return { mistakes, warnings }
}

function isHostname(text: string): boolean {
  return /^[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?$/i.test(text)
}

function isAuthority(text: string): boolean {
  const [, host = '', port] = /^(\[[0-9a-f:.]+\]|[^:]*)(?::(\d{1,5}))?$/i.exec(text) ?? []
  return (host.startsWith('[') || isHostname(host)) && (port === undefined || Number(port) <= 65_535)
}

async function isPem(path: string): Promise<boolean> {
  const text = await readFile(path, 'utf8').catch(() => '')
  return text.includes('-----BEGIN CERTIFICATE-----')
}
