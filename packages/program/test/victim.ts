// Run by kill.test.ts: writes one secret after the other to the same key, says which it wrote, until it is killed.
import { fileSecrets } from '../src/secrets.ts'

const secrets = fileSecrets(process.argv[2] ?? '')
for (let n = 0; ; n += 1) {
  await secrets.set('token', `${n} `.repeat(20_000))
  process.stdout.write(`${n}\n`)
}
