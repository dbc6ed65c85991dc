import { readdir } from 'node:fs/promises'
import type { Secrets } from '@postern/interface'
import { fileSecrets } from './secrets.ts'

/** Milliseconds. A locked keyring asks a person for its password, perhaps on a screen where nobody is. */
const PATIENCE = 20_000

/** The part of an OS keyring that is used; keys are those of {@link Secrets}. */
export interface Keyring {
  get(key: string): Promise<string | undefined>
  set(key: string, value: string): Promise<void>
  delete(key: string): Promise<void>
}

/**
 * The user's secrets in the OS keyring where there is one that works, and in private files where there is none, which is said
 * when the first of them is written. What is in a file from before is found there. Locks are files always.
 *
 * @param open gives the keyring, or undefined; asked once, when a secret is wanted first
 */
export function keyringSecrets(
  folder: string,
  open: () => Promise<Keyring | undefined>,
  say: (line: string) => void,
): Secrets {
  const files = fileSecrets(folder)
  let opened: Promise<Keyring | undefined> | undefined
  const keyring = () => (opened ??= open().catch(() => undefined))
  return {
    async get(key) {
      const found = await (await keyring())?.get(key).catch(() => undefined)
      return found ?? files.get(key)
    },
    async set(key, value) {
      const inKeyring = await (await keyring())?.set(key, value).then(
        () => true,
        () => false, // it was locked meanwhile, or holds nothing so long
      )
      if (inKeyring) return files.delete(key)
      if (await isEmpty(folder))
        say(`no keyring can be used here: secrets are kept in ${folder}, in files that only you can read`)
      await files.set(key, value)
      await (await keyring())?.delete(key).catch(() => {})
    },
    async delete(key) {
      await (await keyring())?.delete(key).catch(() => {})
      await files.delete(key)
    },
    exclusively: (key, work, call) => files.exclusively(key, work, call),
  }
}

async function isEmpty(folder: string): Promise<boolean> {
  const names = await readdir(folder).catch(() => [])
  return names.every(name => /\.lock(-journal)?$/.test(name))
}

/**
 * The keyring of this system, once it has kept, given back and deleted something: asked for what is not there, one that cannot
 * be reached looks the same as an empty one.
 *
 * @param service the name that all entries have in the system's own program for them
 */
export async function systemKeyring(service: string, env: NodeJS.ProcessEnv): Promise<Keyring | undefined> {
  if (env.POSTERN_KEYRING === 'off') return undefined
  // On Linux it is a service of the desktop; without its bus there is nothing to wait for.
  if (process.platform === 'linux' && !env.DBUS_SESSION_BUS_ADDRESS) return undefined
  const { AsyncEntry } = await import('@napi-rs/keyring')
  // The kernel's keyring forgets at the next start, so it is not asked.
  const entry = (key: string) => new AsyncEntry(service, key, { linux: { store: 'secret-service' } })
  const soon = () => AbortSignal.timeout(PATIENCE)
  const keyring: Keyring = {
    get: async key => (await entry(key).getPassword(soon())) ?? undefined,
    set: (key, value) => entry(key).setPassword(value, soon()),
    delete: async key => void (await entry(key).deleteCredential(soon())),
  }
  const probe = `probe.${crypto.randomUUID()}`
  await keyring.set(probe, probe)
  const kept = await keyring.get(probe)
  await keyring.delete(probe)
  return kept === probe ? keyring : undefined
}
