// One query: node src/main.ts 'select now()'
import { readFileSync } from 'node:fs'
import { PosternError } from '@postern/client'
import { openDatabase } from './database.ts'

const { POSTERN_HOSTNAME = '', POSTERN_SERVICE_TOKEN_ID: id = '', SECRET_FILE, POSTERN_PIN, POSTERN_CA } = process.env

try {
  await using database = openDatabase({
    hostname: POSTERN_HOSTNAME,
    id,
    secret: SECRET_FILE ? readFileSync(SECRET_FILE, 'utf8').trim() : '',
    ...(POSTERN_PIN && { pin: POSTERN_PIN }),
    ...(POSTERN_CA && { ca: readFileSync(POSTERN_CA, 'utf8') }),
  })
  const { rows } = await database.pool.query(process.argv[2] ?? 'select now()')
  console.log(JSON.stringify(rows))
} catch (error) {
  if (!PosternError.is(error)) throw error
  console.error(`${error.code}: ${error.message}\n${error.next}`)
  process.exitCode = 1
}
