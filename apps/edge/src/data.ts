import { lstat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Call, PosternError } from '@postern/interface'
import { openStore, type Store } from '@postern/store'
import { type Seed, type ShownToken, seed, seedEmpty } from './admin/seed.ts'
import type { EdgeConfig } from './config.ts'
import { type Certificates, certificatesOfDevCa, certificatesOfFiles } from './front/certificates.ts'
import { openDevCa } from './front/devca.ts'
import { Seal } from './keys/seal.ts'
import { hasTeamKeys, readTeamKeys } from './keys/team-keys.ts'

const DATABASE = 'edge.db'
const DEV_CA = 'ca'

/** What is made once with an edge, and where its CA is. */
export interface Seeded {
  readonly tunnelToken: string
  readonly serviceToken: ShownToken
  readonly caFile: string
}

/** An edge that has no applications yet. */
export interface Empty {
  readonly data: string
  readonly teamDomain: string
  readonly hostname?: undefined
}

/**
 * Makes an edge's data folder with one application, its tunnel, and a token for each side. The secrets are nowhere but in
 * what is returned. Without a hostname there is no application, no tunnel and no token: administer it.
 *
 * @throws PosternError ALREADY_EXISTS when there is one; HOSTNAME_INVALID, BAD_USAGE, FILE_*, STORE_*
 */
export async function initialiseEdge(wanted: Seed & { readonly data: string }, call: Call): Promise<Seeded>
export async function initialiseEdge(wanted: Empty, call: Call): Promise<Pick<Seeded, 'caFile'>>
export async function initialiseEdge(
  wanted: Empty | (Seed & { readonly data: string }),
  call: Call,
): Promise<Pick<Seeded, 'caFile'>> {
  await using store = await openStore({ path: join(wanted.data, DATABASE) }, call)
  refuseSecond(store, wanted.data)
  const ca = await openDevCa(join(wanted.data, DEV_CA))
  const made = wanted.hostname === undefined ? await seedEmpty(store, wanted.teamDomain) : await seed(store, wanted)
  return { ...made, caFile: ca.file }
}

/** Makes nothing. @throws PosternError ALREADY_EXISTS when there is an edge in this folder; STORE_* */
export async function refuseInitialised(data: string, call: Call): Promise<void> {
  const path = join(data, DATABASE)
  if ((await lstat(path).catch(() => undefined)) === undefined) return
  await using store = await openStore({ path }, call)
  refuseSecond(store, data)
}

function refuseSecond(store: Store, data: string): void {
  if (store.snapshot.version === 0) return
  throw new PosternError('ALREADY_EXISTS', `${data} is initialised already`, {
    next: `Use it (postern-edge run --data ${data}), or choose another folder.`,
  })
}

/**
 * Looks at an edge's data folder and certificate without starting anything.
 *
 * @returns what is wrong, a sentence each; empty when it would start
 * @throws PosternError FILE_*, STORE_*, CONFIG_INVALID
 */
export async function checkEdge(config: EdgeConfig, call: Call): Promise<readonly string[]> {
  const path = await databaseOf(config.data)
  await using store = await openStore({ path }, call)
  await certificatesFor(config, teamDomainOf(store, config.data), store, call)
  if (hasTeamKeys(store.snapshot)) readTeamKeys(store.snapshot, await Seal.open(config.data, true, config.sealKey))
  const { integrity, broken } = await store.check()
  const wrong = integrity === 'ok' ? [] : [`the database is damaged: ${integrity}`]
  if (broken !== undefined)
    wrong.push(`the audit log is broken at row ${broken}: a row was altered, taken out or cut off`)
  if (store.restored !== undefined)
    wrong.push('the database is an older copy of itself: the next start ends every sign-in, see the audit log then')
  for (const application of store.snapshot.applications.values()) {
    if (application.rules.length === 0) wrong.push(`${application.hostname} has no rules, so it lets nobody in`)
  }
  return wrong
}

/** Where the database is; running an edge makes none. */
export async function databaseOf(data: string): Promise<string> {
  const path = join(data, DATABASE)
  const there = await lstat(path).catch(() => undefined)
  if (there === undefined) throw notInitialised(data)
  return path
}

function notInitialised(data: string): PosternError {
  return new PosternError('CONFIG_INVALID', `${data} is not initialised`, { next: 'Run postern-edge init first.' })
}

/** @throws PosternError CONFIG_INVALID */
export function teamDomainOf(store: Store, data: string): string {
  const teamDomain = store.snapshot.settings.get('teamDomain')
  if (typeof teamDomain === 'string') return teamDomain
  throw notInitialised(data)
}

/** Own certificate files, else the dev CA's, made on first start. @throws PosternError FILE_*, CONFIG_INVALID */
export async function certificatesFor(
  { data, tls }: EdgeConfig,
  teamDomain: string,
  store: Store,
  call: Call,
): Promise<{ certificates: Certificates; caFile: string | undefined }> {
  if (tls !== undefined) return { certificates: await certificatesOfFiles(tls, call), caFile: undefined }
  const ca = await openDevCa(join(data, DEV_CA))
  const isOurs = (name: string) => name === teamDomain || store.snapshot.applications.has(name)
  return { certificates: await certificatesOfDevCa(ca, teamDomain, isOurs), caFile: ca.file }
}
