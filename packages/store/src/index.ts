export type { AuditCheck, AuditEntry, AuditRow } from './chain.ts'
export { checkPrivateFile, ensurePrivateFile, ensurePrivateFolder, readPrivateFile, writePrivateFile } from './files.ts'
export type { ApplicationRecord, Change, ChangeNote, Snapshot, TunnelRecord } from './records.ts'
export { openStore, type Store, type StoreOptions } from './store.ts'
