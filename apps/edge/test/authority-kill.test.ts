import { createPrivateKey, X509Certificate } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openStore, type Store } from '@postern/store'
import { expect, test } from 'vitest'
import { authoritiesIn, fingerprintOf } from '../src/certificates/authorities.ts'
import { certificateRows, issuedRow, issuedRowIn, revokedRow, revokedRowIn } from '../src/certificates/records.ts'
import { initialiseEdge } from '../src/index.ts'
import { Seal } from '../src/keys/seal.ts'
import { killedAfter } from './killed-after.ts'
import { call } from './world.ts'

const ROUNDS = 3

test('row 156: kill -9 while CAs are made, rotated and issue leaves each as it was or as it was to be, never torn', {
  timeout: 90_000,
}, async () => {
  const data = await mkdtemp(join(tmpdir(), 'postern-kill-'))
  await initialiseEdge({ data, teamDomain: 'edge.localhost' }, call)
  for (let round = 0; round < ROUNDS; round += 1) {
    const said = await killedAfter('authority-victim.ts', data, 23 + round * 7)
    await using store = await openStore({ path: join(data, 'edge.db') }, call)
    expect((await store.check()).integrity).toBe('ok')
    expect((await store.check()).broken).toBeUndefined()
    checkWhole(store, await Seal.open(data, true))
    checkAcknowledged(store, said)
    const changes = (await store.readAudit({ most: 100_000, class: 'change' })).filter(({ action }) =>
      /^(ca|certificate)\./.test(action),
    )
    // Each change has its row, and each row its change.
    const made = changes.filter(({ action }) => action === 'ca.create').length
    const removed = changes.filter(({ action }) => action === 'ca.delete').length
    expect(authoritiesIn(store.snapshot).list()).toHaveLength(made - removed)
  }
  await rm(data, { recursive: true })
})

function checkWhole({ snapshot }: Store, seal: Seal): void {
  const authorities = authoritiesIn(snapshot)
  for (const { certificates, fingerprints, record } of authorities.list()) {
    const { fingerprint = '', sealedKey = '' } = record.issuing ?? {}
    const own = certificates[fingerprints.indexOf(fingerprint)]
    expect(certificates.map(fingerprintOf)).toEqual(fingerprints)
    expect(new X509Certificate(own ?? '').checkPrivateKey(createPrivateKey(seal.open(sealedKey)))).toBe(true)
  }
  for (const row of certificateRows(snapshot).keys()) {
    const place = issuedRowIn(row) ?? revokedRowIn(row)
    if (place !== undefined) expect(authorities.get(place.id), row).toBeDefined()
  }
}

/** What was said is there, unless something later took it away. */
function checkAcknowledged({ snapshot }: Store, said: readonly string[]): void {
  const rows = certificateRows(snapshot)
  for (const line of said) {
    const [what, id = '', serial = ''] = line.split(' ')
    const authority = authoritiesIn(snapshot).get(id)
    if (authority === undefined) {
      expect(snapshot.revocations.has(`certificate-authority:${id}`)).toBe(true)
      continue
    }
    if (what === 'issued') expect(rows.has(issuedRow(id, serial))).toBe(true)
    if (what === 'revoked') expect(rows.has(revokedRow(id, serial))).toBe(true)
    if (what === 'retired') expect(authority.certificates).toHaveLength(1)
  }
}
