// POSTERN_SERVICE_TOKEN_ID=… SECRET_FILE=… node src/main.ts https://app.example.com/reports
import { readFileSync } from 'node:fs'
import { asMachine, Refused } from './machine.ts'

const { POSTERN_SERVICE_TOKEN_ID: id = '', SECRET_FILE = '' } = process.env

try {
  const fetch = asMachine({ id, secret: readFileSync(SECRET_FILE, 'utf8').trim() })
  const answer = await fetch(process.argv[2] ?? '')
  process.stdout.write(await answer.text())
} catch (error) {
  if (!(error instanceof Refused)) throw error
  console.error(`${error.message}\n${error.next}\nRequest ${error.requestId}`)
  process.exitCode = 1
}
