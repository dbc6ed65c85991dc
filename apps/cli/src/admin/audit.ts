import { setTimeout as sleep } from 'node:timers/promises'
import { type AuditRow, type Input, MOST_ROWS } from '@postern/admin'
import { type Json, PosternError } from '@postern/interface'
import type { Stopping } from '@postern/program'
import { type Context, command } from './command.ts'
import { safe } from './show.ts'

const OPTIONS = {
  follow: { type: 'boolean', default: false, summary: 'go on with rows as they are written, until Ctrl-C' },
  since: { type: 'duration', summary: 'rows of this last while only, for example 1h' },
  limit: { type: 'number', default: 50, summary: 'so many rows at most, the latest' },
  hostname: { type: 'string', summary: 'of this application only' },
  actor: { type: 'string', summary: 'by this actor only' },
  action: { type: 'string', summary: 'of this action only, for example tunnel.create' },
  class: { type: 'string', summary: 'change (of the edge) or traffic (who came) only' },
  requestId: { type: 'string', summary: 'of this request only: the id that every refusal shows' },
} as const

/** Milliseconds between two looks at the log. */
const POLL = 1_000

type Query = Input<'audit.list'>['query']
type Reader = Context<never, typeof OPTIONS>

export const AUDIT = command({
  summary: 'show the audit log, the latest rows last; with --json a list, or with --follow a row a line',
  options: OPTIONS,
  example: 'postern admin audit --since 1h --hostname db.example.com --follow',
  async run(context) {
    const { values, print } = context
    if (!Number.isInteger(values.limit) || values.limit < 1)
      throw new PosternError('OPTION_INVALID', '--limit is a whole number, 1 or more')
    const filter = filterOf(values)
    const rows = await newest(context, filter, row => row <= values.limit)
    if (!values.follow) return rows
    let last = rows.at(-1)?.sequence ?? 0
    for (const row of rows) print(row, lineOf(row))
    for await (const _ of ticks(context.program.stop)) {
      const more = await newest(context, filter, (_count, { sequence }) => sequence > last)
      for (const row of more) print(row, lineOf(row))
      last = more.at(-1)?.sequence ?? last
    }
    return undefined
  },
  show: rows => rows.map(lineOf).join(''),
})

function filterOf({ since, hostname, actor, action, class: kind, requestId }: Reader['values']): Query {
  return {
    ...(since !== undefined && { since: new Date(Date.now() - since).toISOString() }),
    ...(hostname !== undefined && { hostname }),
    ...(actor !== undefined && { actor }),
    ...(action !== undefined && { action }),
    ...(kind !== undefined && { class: kind as 'change' }), // the schema says what it may be
    ...(requestId !== undefined && { requestId }),
  }
}

/** The latest rows as long as they are wanted, oldest first. By their numbers, not their times: a row may be written late. */
async function newest(
  { ask, values }: Reader,
  filter: Query,
  wanted: (count: number, row: AuditRow) => boolean,
): Promise<AuditRow[]> {
  const found: AuditRow[] = []
  const most = String(Math.min(MOST_ROWS, values.limit))
  for (let before: number | undefined; ; ) {
    const query = { ...filter, most, ...(before !== undefined && { before: String(before) }) }
    const { rows, next } = await ask('audit.list', { query })
    for (const row of rows) {
      if (!wanted(found.length + 1, row)) return found.reverse()
      found.push(row)
    }
    if (next === undefined) return found.reverse()
    before = next
  }
}

/** Until the person has seen enough, which is no failure. */
async function* ticks({ gently: signal }: Stopping): AsyncGenerator<void> {
  for (;;) {
    await sleep(POLL, undefined, { signal }).catch(() => {})
    if (signal.aborted) return
    yield
  }
}

/** `2026-11-21T21:00:00.000Z deny  session.open db.example.com by …`; what is in a row is a stranger's word, and escaped. */
function lineOf(row: AuditRow): string {
  const { at, action, actor, allowed, code, hostname, remoteAddress, requestId, detail } = row
  const verdict = allowed === undefined ? 'done' : allowed ? 'allow' : 'deny'
  const pairs = { actor, hostname, code, from: remoteAddress, request: requestId, detail }
  const told = Object.entries(pairs).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${wordOf(value)}`],
  )
  return `${safe([at, verdict.padEnd(5), action, ...told].join(' '))}\n`
}

function wordOf(value: Json): string {
  return typeof value === 'string' && /^[\w.:/@+-]+$/.test(value) ? value : JSON.stringify(value)
}
