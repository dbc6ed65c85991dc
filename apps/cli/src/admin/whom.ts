import type { WantedApplication } from '@postern/admin'
import { PosternError } from '@postern/interface'
import type { HostOptionSpecs, Values } from '@postern/options'

type Include = WantedApplication['rules'][number]['include']
type CertificateSelector = Extract<Include[number], { certificate: object }>['certificate']

/** Whom a rule is about, as flags. */
export const WHOM = {
  email: { type: 'string', multiple: true, summary: 'whom: the person with this email address' },
  emailDomain: { type: 'string', multiple: true, summary: 'whom: people with an address at this domain' },
  group: { type: 'string', multiple: true, summary: 'whom: people whom their provider lists in this group' },
  everyone: { type: 'boolean', default: false, summary: 'whom: any person who is signed in' },
  inGroup: { type: 'string', multiple: true, summary: 'whom: what a group of `postern admin group` names' },
  serviceToken: { type: 'string', multiple: true, summary: 'whom: a service token, by name or id' },
  anyServiceToken: { type: 'boolean', default: false, summary: 'whom: every service token of this edge' },
  certificate: {
    type: 'string',
    multiple: true,
    summary: 'whom: client certificates, for example ca=team or ca=team,email=ann@example.com',
  },
} as const satisfies HostOptionSpecs

/** What the flags say. @throws PosternError OPTION_INVALID */
export function whomIn(values: Values<typeof WHOM>): Include {
  const { email, emailDomain, group: groups, everyone, inGroup, ...machines } = values
  return [
    ...email.map(one => ({ email: one })),
    ...emailDomain.map(one => ({ emailDomain: one })),
    ...groups.map(one => ({ group: one })),
    ...(everyone ? [{ everyone: true as const }] : []),
    ...inGroup.map(one => ({ inGroup: one })),
    ...machines.serviceToken.map(one => ({ serviceToken: one })),
    ...(machines.anyServiceToken ? [{ anyServiceToken: true as const }] : []),
    ...machines.certificate.map(one => ({ certificate: certificateIn(one) })),
  ]
}

const MEMBERS: readonly string[] = ['ca', 'commonName', 'dns', 'email', 'uri', 'ip', 'fingerprint', 'issuer']

/** `ca=team,dns=ci.example.com` */
function certificateIn(text: string): CertificateSelector {
  const pairs = text.split(/,(?=[A-Za-z]+=)/).map(part => {
    const at = part.indexOf('=')
    return [part.slice(0, Math.max(at, 0)), part.slice(at + 1)] as const
  })
  const names = pairs.map(([name]) => name)
  if (names.every(name => MEMBERS.includes(name)) && new Set(names).size === names.length)
    return Object.fromEntries(pairs) as CertificateSelector
  throw new PosternError('OPTION_INVALID', `--certificate: ${JSON.stringify(text)} does not say which certificates`, {
    next: `Write NAME=VALUE, with commas between; names are ${MEMBERS.join(', ')}. For example: ca=team,dns=ci.example.com`,
  })
}

/** What a rule is called that nobody named: the action and whom. */
export function ruleName(action: string, include: Include): string {
  const whom = include.map(one => Object.entries(one).map(calledIn).join())
  return `${action} ${whom.join(', ')}`.slice(0, 64)
}

/** A selector in the name of a rule. */
function calledIn([key, value]: readonly [string, unknown]): string {
  if (key === 'certificate') return Object.values(value as object).join(' ')
  if (value !== true) return String(value)
  return key === 'everyone' ? 'everyone' : 'any service token'
}

/** @throws PosternError OPTION_MISSING */
export function mustNameSomebody(include: Include, action: string): void {
  if (include.length > 0) return
  throw new PosternError(
    'OPTION_MISSING',
    `whom to ${action} is missing; give --email ADDRESS or --service-token NAME, or see --help`,
  )
}
