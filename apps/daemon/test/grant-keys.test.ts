import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Credentials, type GrantKeySetFile, keepGrantKeys, writeJson } from '@postern/connector/files'
import { recordingLog } from '@postern/testkit'
import { type Grant, type Jwks, KeyRing, readGrant, signGrant, signGrantKeys } from '@postern/tokens'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { GrantKeys } from '../src/grant-keys.ts'

const ME = { tunnel: 'home', connector: '11111111-2222-4333-8444-555555555555' }
const FIRST = KeyRing.create()
let folder: string
let path: string
let log: ReturnType<typeof recordingLog>
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'postern-grant-keys-'))
  path = join(folder, 'connector.json')
  log = recordingLog()
  await writeJson(path, credentials())
})
afterEach(() => rm(folder, { recursive: true }))

function credentials(more: Partial<Credentials> = {}): Credentials {
  const what = { token: 't', certificate: 'c', key: 'k', identity: 'i', grantKeys: FIRST.jwks() }
  return { version: 1, edge: 'https://edge.example.com', ...ME, ...what, ...more }
}

const kept = async (): Promise<Credentials> => JSON.parse(await readFile(path, 'utf8'))

/** A daemon that starts with what is in the file, and keeps there what it is told. */
async function started(me = ME): Promise<GrantKeys> {
  const set = (await kept()).grantKeys as GrantKeySetFile
  const keep = (later: GrantKeySetFile) => keepGrantKeys(path, me.connector, later)
  return new GrantKeys({ ...me, edge: 'https://edge.example.com', set, keep }, { log })
}

let sequence = 0
/** The key that signs, and the next one, as an edge tells them. */
function setOf(ring: KeyRing): Jwks {
  const kids = ring.list().flatMap(({ kid, state }) => (state === 'previous' ? [] : [kid]))
  return { keys: ring.jwks().keys.filter(({ kid }) => kids.includes(kid)) }
}
const told = (ring: KeyRing, of = sequence, me = ME, now = Date.now()) =>
  signGrantKeys(ring, me, { sequence: of, jwks: setOf(ring) }, now)
function rotated(ring: KeyRing): KeyRing {
  sequence += 1
  return ring.rotate()
}

/** Whether a grant that this ring signs is taken. */
async function takes(daemon: GrantKeys, ring: KeyRing, later = 200_000): Promise<boolean> {
  const parts: Omit<Grant, 'exp' | 'mode'> = {
    ...{ aud: ME, jti: 'j', sid: 's', hostname: 'a.b', identities: [], permit: null },
    cnf: `sha256:${'ab'.repeat(32)}`,
  }
  return readGrant(await signGrant(ring, parts), daemon.keys(Date.now() + later), ME).then(
    () => true,
    () => false,
  )
}

async function hear(daemon: GrantKeys, token: string): Promise<void> {
  daemon.hear(token)
  await daemon.settled
  await daemon.kept
}

it('a daemon that is told of each rotation goes on for ever, and so does the one that starts after it', async () => {
  const daemon = await started()
  let ring = FIRST
  for (let n = 0; n < 5; n += 1) {
    ring = rotated(ring)
    await hear(daemon, await told(ring))
    expect([await takes(daemon, ring), await takes(daemon, FIRST)]).toEqual([true, false])
    // What was signed just before is on its way.
    expect(await takes(daemon, FIRST, 0)).toBe(n === 0)
  }
  await expect.poll(async () => (await kept()).grantKeys?.sequence).toBe(sequence)
  expect((await stat(path)).mode & 0o777).toBe(0o600)
  expect(await kept()).toMatchObject({ token: 't', key: 'k', connector: ME.connector })
  const again = await started()
  expect([await takes(again, ring), await takes(again, ring.rotate())]).toEqual([true, true])
})

it('one that was away for one rotation follows; one that was away for two says what to do', async () => {
  const once = rotated(FIRST)
  const daemon = await started()
  expect(await takes(daemon, once)).toBe(true)
  await hear(daemon, await told(once))
  expect(daemon.isStale).toBe(false)

  const thrice = rotated(rotated(once))
  await hear(daemon, await told(thrice))
  await hear(daemon, await told(thrice))
  expect([daemon.isStale, await takes(daemon, thrice)]).toEqual([true, false])
  const said = log.text()
  expect(said.split('replaced twice')).toHaveLength(2) // once
  expect(said).toContain('posternd login --edge https://edge.example.com --tunnel home')
  // The keys that it knows are back: an edge of a restored backup.
  await hear(daemon, await told(once))
  expect(daemon.isStale).toBe(false)
})

it('an old set does not come back, nor the same one again', async () => {
  const [one, later] = [rotated(FIRST), sequence]
  const daemon = await started()
  await hear(daemon, await told(one, later))
  for (const old of [later, later - 1]) {
    // Signed by a key that it knows: of the edge itself, at another time.
    await hear(daemon, await signGrantKeys(one, ME, { sequence: Math.max(old, 1), jwks: setOf(FIRST) }))
    expect([await takes(daemon, one.rotate()), await takes(daemon, FIRST)]).toEqual([true, false])
  }
  await hear(daemon, await told(one.rotate(), later + 1))
  expect(await takes(daemon, one.rotate().rotate())).toBe(false) // another one, of other keys
})

it('what is for another, of nobody known, old, or nothing, changes nothing', async () => {
  const daemon = await started()
  const next = rotated(FIRST)
  const other = { ...ME, connector: '99999999-2222-4333-8444-555555555555' }
  const grant = await signGrant(FIRST, {
    ...{ aud: ME, jti: 'j', sid: 's', hostname: 'a.b', identities: [], permit: null },
    cnf: `sha256:${'ab'.repeat(32)}`,
  })
  const wrong = [
    await told(next, sequence, other),
    await told(next, sequence, { ...ME, tunnel: 'far' }),
    await told(KeyRing.create()),
    await told(next, sequence, ME, Date.now() - 300_000),
    grant,
    'eyJ.eyJ.x',
  ]
  const before = await readFile(path, 'utf8')
  for (const token of wrong) await hear(daemon, token)
  expect(await takes(daemon, next.rotate())).toBe(false)
  expect(await readFile(path, 'utf8')).toBe(before)
  // The allow twin.
  await hear(daemon, await told(next))
  expect(await takes(daemon, next.rotate())).toBe(true)
})

it('what cannot be kept is used, and the file stays whole', async () => {
  const daemon = await started()
  const next = rotated(FIRST)
  await chmod(folder, 0o777) // others could put a file there
  const before = await readFile(path, 'utf8')
  await hear(daemon, await told(next))
  await expect.poll(() => log.text()).toContain('cannot be kept')
  expect(await takes(daemon, next.rotate())).toBe(true)
  expect(await readFile(path, 'utf8')).toBe(before)
  expect(await readdir(folder)).toEqual(['connector.json'])
  await chmod(folder, 0o700)
})

it('what a write that was torn left behind is nobody’s, and the next one is whole', async () => {
  await writeFile(join(folder, 'connector.json.0f0f'), '{"version":1,"edge":"https://ed')
  const daemon = await started()
  const next = rotated(FIRST)
  await hear(daemon, await told(next))
  await expect.poll(async () => (await kept()).grantKeys?.sequence).toBe(sequence)
  expect((await kept()).token).toBe('t')
})

it('another login meanwhile is not undone', async () => {
  const daemon = await started()
  const now = credentials({ connector: 'another', token: 'new' })
  await writeJson(path, now)
  await hear(daemon, await told(rotated(FIRST)))
  await expect.poll(() => log.text()).toContain('were replaced')
  expect(await kept()).toEqual(now)
})
