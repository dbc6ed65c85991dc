import type { Code } from '@postern/interface'
import type { AuditCheck, AuditEntry, Removal } from './chain.ts'
import type { Restored } from './high-water.ts'
import type { AuditPage, AuditQuery } from './query.ts'
import type { Change, ChangeNote, Snapshot } from './records.ts'

/** What is asked of the writer thread. Plain data. */
export type Asked =
  | { readonly ask: 'snapshot' }
  | { readonly ask: 'restored' }
  | { readonly ask: 'change'; readonly changes: readonly Change[]; readonly note?: ChangeNote }
  | { readonly ask: 'traffic'; readonly entries: readonly AuditEntry[] }
  | { readonly ask: 'rows'; readonly query: AuditQuery }
  | {
      readonly ask: 'remove'
      readonly before: number
      readonly now: number
      readonly after: number
      readonly most: number
    }
  | { readonly ask: 'check' }
  | { readonly ask: 'close' }

/** What it answers. */
export interface Answers {
  snapshot: Snapshot
  restored: Restored | undefined
  change: number
  traffic: undefined
  rows: AuditPage
  remove: Removal
  check: AuditCheck & { readonly integrity: string }
  close: undefined
}

export type Question = Asked & { readonly id: number }

/** An error loses its class on the way between threads, so its parts are sent. */
export type Reply =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly failed: { readonly code: Code; readonly message: string; readonly next: string } }

/** What the writer thread starts with. */
export interface WriterStart {
  readonly path: string
  readonly most: number
}
