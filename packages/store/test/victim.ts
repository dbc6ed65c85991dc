// Run by kill.test.ts: writes changes and traffic as fast as it can, says what was acknowledged, until it is killed.
import { openStore } from '../src/store.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }
const store = await openStore({ path: process.argv[2] ?? '' }, { signal: new AbortController().signal, log })
for (let n = store.snapshot.version; ; n += 1) {
  store.audit({ at: Date.now(), action: 'access.decide', allowed: true, requestId: `r${n}` })
  await store.apply([{ put: 'record', namespace: 'n', id: String(n), value: { n } }], {
    action: 'test',
    actor: 'victim',
  })
  process.stdout.write(`${n}\n`)
}
