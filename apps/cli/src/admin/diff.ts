import type { AccessChange, Applied } from '@postern/admin'
import type { Json } from '@postern/interface'
import { safe } from './show.ts'

type Plan = Pick<Applied, 'changes' | 'unlisted' | 'done'>
type Members = Readonly<Record<string, unknown>>

const SIGN = { create: '+', update: '~', delete: '-' } as const

/**
 * What changes, for people:
 *
 * ```
 * + tunnel home
 * ~ application db.example.com
 *     protocols: ["tcp"] → ["ssh"]
 *     rules[allow ci]: nothing → {"name":"allow ci","action":"allow","include":[{"serviceToken":"ci"}]}
 * - service-token old
 * ```
 */
export function textOf({ changes, unlisted }: Plan): string {
  const gone = new Set(changes.filter(({ action }) => action === 'delete').map(({ kind, name }) => `${kind} ${name}`))
  const left = unlisted.map(({ kind, name }) => `${kind} ${name}`).filter(one => !gone.has(one))
  const lines = changes.flatMap(one => [`${SIGN[one.action]} ${one.kind} ${one.name}`, ...detailsOf(one)])
  if (left.length > 0) lines.push('not in the file, and left as they are (--prune removes them):')
  return [...lines, ...left.map(one => `    ${one}`)].map(line => `${safe(line)}\n`).join('')
}

/** `1 created, 2 updated, 0 removed`, or what would be. */
export function summaryOf({ changes, done }: Plan): string {
  if (changes.length === 0) return 'nothing to change'
  const count = (action: AccessChange['action']) => changes.filter(one => one.action === action).length
  return `${done ? '' : 'would be: '}${count('create')} created, ${count('update')} updated, ${count('delete')} removed`
}

function detailsOf({ action, before, after }: AccessChange): string[] {
  if (action === 'update') return differences('', before, after).map(line => `    ${line}`)
  const known = ['name', 'hostname'] // they are in the line above
  const members = action === 'create' && isMembers(after) ? Object.entries(after) : []
  return members.filter(([key]) => !known.includes(key)).map(([key, value]) => `    ${key}: ${JSON.stringify(value)}`)
}

/** A line for each member that is not the same; of a list of named things, by their names. */
function differences(at: string, before: unknown, after: unknown): string[] {
  const [old, wanted] = [byName(before), byName(after)]
  if (!old || !wanted) {
    const [from, to] = [JSON.stringify(before), JSON.stringify(after)]
    return from === to ? [] : [`${at}: ${from ?? 'nothing'} → ${to ?? 'nothing'}`]
  }
  const inList = Array.isArray(after)
  const names = [...new Set([...Object.keys(old), ...Object.keys(wanted)])]
  const lines = names.flatMap(name =>
    differences(inList ? `${at}[${name}]` : at === '' ? name : `${at}.${name}`, old[name], wanted[name]),
  )
  const [was, is] = [Object.keys(old).join(', '), Object.keys(wanted).join(', ')]
  return inList && lines.length === 0 && was !== is ? [`${at}: in the order ${was} → ${is}`] : lines
}

/** A map as it is; a list of named things as a map of them. */
function byName(value: unknown): Members | undefined {
  if (isMembers(value)) return value
  if (!Array.isArray(value) || !value.every(one => isMembers(one) && typeof one.name === 'string')) return undefined
  return Object.fromEntries(value.map((one: { readonly name: string } & Json) => [one.name, one]))
}

function isMembers(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
