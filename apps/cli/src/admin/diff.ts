import type { AccessChange, Applied } from '@postern/admin'
import { safe } from './show.ts'

type Plan = Pick<Applied, 'changes' | 'unlisted' | 'done'>

const SIGN = { create: '+', update: '~', delete: '-' } as const

/**
 * What changes, for people:
 *
 * ```
 * + tunnel home
 * ~ application db.example.com
 *     rules: [] → [{"name":"allow ci",…}]
 * - service-token old
 * ```
 */
export function textOf({ changes, unlisted }: Plan): string {
  const lines = changes.flatMap(one => [`${SIGN[one.action]} ${one.kind} ${one.name}`, ...fieldsOf(one)])
  if (unlisted.length > 0) {
    lines.push(`not listed, and left as they are (--prune removes them):`)
    lines.push(...unlisted.map(({ kind, name }) => `    ${kind} ${name}`))
  }
  return lines.map(line => `${safe(line)}\n`).join('')
}

/** `1 created, 2 updated, 0 removed`, or what would be. */
export function summaryOf({ changes, done }: Plan): string {
  if (changes.length === 0) return 'nothing to change'
  const count = (action: AccessChange['action']) => changes.filter(one => one.action === action).length
  const will = done ? '' : 'would be: '
  return `${will}${count('create')} created, ${count('update')} updated, ${count('delete')} removed`
}

function fieldsOf({ action, before, after }: AccessChange): string[] {
  if (action === 'delete') return []
  const [old, wanted] = [recordOf(before), recordOf(after)]
  const names = [...new Set([...Object.keys(old), ...Object.keys(wanted)])]
  return names.flatMap(name => {
    const [from, to] = [JSON.stringify(old[name]), JSON.stringify(wanted[name])]
    if (from === to) return []
    return [`    ${name}: ${action === 'create' ? '' : `${from ?? 'nothing'} → `}${to ?? 'nothing'}`]
  })
}

function recordOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}
