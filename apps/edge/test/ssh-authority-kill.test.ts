import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readSshCertificate, sshAuthorityLine } from '@postern/pki/ssh/certificate'
import { readSshAuthority } from '@postern/pki/ssh/key'
import { openStore, type Store } from '@postern/store'
import { expect, test } from 'vitest'
import { initialiseEdge } from '../src/index.ts'
import { Seal } from '../src/keys/seal.ts'
import { killedAfter } from './killed-after.ts'
import { call } from './world.ts'

const ROUNDS = 3

test('row 156: kill -9 while SSH authorities are made and certificates are given loses neither an authority nor a row', {
  timeout: 90_000,
}, async () => {
  const data = await mkdtemp(join(tmpdir(), 'postern-kill-'))
  await initialiseEdge({ data, teamDomain: 'edge.localhost', hostname: 'db.localhost', tunnel: 'home' }, call)
  for (let round = 0; round < ROUNDS; round += 1) {
    const said = await killedAfter('ssh-authority-victim.ts', data, 23 + round * 7)
    await using store = await openStore({ path: join(data, 'edge.db') }, call)
    expect((await store.check()).integrity).toBe('ok')
    expect((await store.check()).broken).toBeUndefined()
    checkWhole(store, await Seal.open(data, true))
    checkAuthorities(store, await Seal.open(data, true), said)
    await checkCertificates(store, said)
  }
  await rm(data, { recursive: true })
})

/** Every authority is that of an application, and opens. */
function checkWhole({ snapshot }: Store, seal: Seal): void {
  const applications = new Set([...snapshot.applications.values()].map(({ id }) => id))
  for (const [id, row] of snapshot.records.get('ssh-ca') ?? []) {
    expect(applications.has(id)).toBe(true)
    expect(readSshAuthority(seal.open((row as { sealed: string }).sealed)).asymmetricKeyType).toBe('ed25519')
  }
}

/** What servers were told to trust is what will sign, unless its application was removed. */
function checkAuthorities({ snapshot }: Store, seal: Seal, said: readonly string[]): void {
  let checked = 0
  for (const line of said) {
    const [what, hostname = '', ...key] = line.split(' ')
    const application = snapshot.applications.get(hostname)
    if (what !== 'authority' || application === undefined) continue
    const row = snapshot.records.get('ssh-ca')?.get(application.id) as { sealed: string } | undefined
    expect(sshAuthorityLine(readSshAuthority(seal.open(row?.sealed ?? '')), `postern ${hostname}`)).toBe(key.join(' '))
    checked += 1
  }
  expect(checked).toBeGreaterThan(0)
}

/** Whatever was given is known of. */
async function checkCertificates(store: Store, said: readonly string[]): Promise<void> {
  const rows = await store.readAudit({ most: 10_000, action: 'ssh-certificate.issue' })
  const known = new Set(rows.map(({ detail }) => (detail as { serial: string }).serial))
  const given = said.filter(line => line.startsWith('certificate '))
  expect(given.length).toBeGreaterThan(0)
  for (const line of given) {
    const { serial } = readSshCertificate(line.split(' ').slice(2).join(' '))
    expect(known.has(String(serial)), `the row of ${serial}`).toBe(true)
  }
}
