// Run by migrations.test.ts: a migration that has written much, says so, and never ends.
import { writeSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { MIGRATIONS, migrate } from '../src/migrations.ts'

const path = process.argv[2] ?? ''
const database = new DatabaseSync(path)
// A cache this small is written to the file before the commit: what is killed has really touched it.
database.exec('pragma locking_mode = exclusive; pragma journal_mode = wal; pragma cache_size = 10')
let rows = 0
database.function('said', () => {
  rows += 1
  if (rows === 20_000) writeSync(1, 'half way\n')
  return 'x'.repeat(500)
})
const endless = `
  create table half (x);
  delete from revocations;
  insert into half with recursive n (i) as (select 1 union all select i + 1 from n) select said() from n`
migrate(database, path, [MIGRATIONS[0] ?? '', endless])
