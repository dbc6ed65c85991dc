export type { AuditCheck, AuditEntry, AuditRow } from './chain.ts'
export { checkPrivateFile, ensurePrivateFile, ensurePrivateFolder, readPrivateFile, writePrivateFile } from './files.ts'
export type { Restored } from './high-water.ts'
export type { AuditQuery } from './query.ts'
export type {
  ApplicationOptions,
  ApplicationRecord,
  Bookkeeping,
  Change,
  ChangeNote,
  Revocation,
  Snapshot,
  TunnelRecord,
} from './records.ts'
export { auditDaysOf } from './retention.ts'
export { openStore, type Store, type StoreOptions } from './store.ts'
