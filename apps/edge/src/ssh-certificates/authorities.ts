import type { KeyObject } from 'node:crypto'
import { type Json, PosternError } from '@postern/interface'
import { sshAuthorityLine } from '@postern/pki/ssh/certificate'
import { createSshAuthority, readSshAuthority } from '@postern/pki/ssh/key'
import type { ApplicationRecord, Change, ChangeNote, Snapshot, Store } from '@postern/store'
import type { Turns } from '../admin/turns.ts'
import type { Seal } from '../keys/seal.ts'

/** Rows by an application's id. */
const NAMESPACE = 'ssh-ca'

export interface SshAuthoritiesOptions {
  readonly store: Store
  readonly seal: Seal
  /** Shared with the administration: no application is removed while its authority is made. */
  readonly turns: Turns
}

/** Who asked, for the audit row. */
export type SshNote = Pick<ChangeNote, 'actor' | 'requestId' | 'remoteAddress'>

/** The keys that SSH certificates are signed with: one an application, made when it is first asked for, kept sealed in the store. */
export class SshAuthorities {
  readonly #options: SshAuthoritiesOptions
  readonly #opened = new WeakMap<object, KeyObject>()

  constructor(options: SshAuthoritiesOptions) {
    this.#options = options
  }

  /**
   * The private key of an application's authority.
   *
   * @throws PosternError NOT_FOUND: the application is gone; CONFIG_INVALID: sealed with another key; STORE_UNUSABLE
   */
  async of(application: ApplicationRecord, note: SshNote): Promise<KeyObject> {
    const { store, turns } = this.#options
    const row = rowOf(store.snapshot, application.id)
    if (row !== undefined) return this.#open(row)
    return turns.take(async () => {
      if (rowOf(store.snapshot, application.id) === undefined) await this.#make(application, note)
      return this.#open(rowOf(store.snapshot, application.id) ?? null)
    })
  }

  /** What servers are told to trust: a line for the file of sshd’s `TrustedUserCAKeys`. @throws as {@link of} */
  async line(application: ApplicationRecord, note: SshNote): Promise<string> {
    return sshAuthorityLine(await this.of(application, note), `postern ${application.hostname}`)
  }

  async #make({ id, hostname }: ApplicationRecord, note: SshNote): Promise<void> {
    const { store, seal } = this.#options
    if (store.snapshot.applications.get(hostname)?.id !== id)
      throw new PosternError('NOT_FOUND', 'the application was removed', { speaker: 'edge' })
    const value = { sealed: seal.seal(await createSshAuthority()), createdAt: Date.now() }
    await store.apply([{ put: 'record', namespace: NAMESPACE, id, value }], {
      ...note,
      action: 'ssh-ca.create',
      hostname,
    })
  }

  #open(row: Json): KeyObject {
    if (!isSealed(row)) throw new PosternError('CONFIG_INVALID', 'the SSH authority of an application cannot be read')
    const known = this.#opened.get(row)
    if (known !== undefined) return known
    const key = readSshAuthority(this.#options.seal.open(row.sealed))
    this.#opened.set(row, key)
    return key
  }
}

/** What goes with an application that is removed. */
export function sshAuthorityRemoval(applicationId: string): Change {
  return { delete: 'record', namespace: NAMESPACE, id: applicationId }
}

function rowOf({ records }: Snapshot, id: string): Json | undefined {
  return records.get(NAMESPACE)?.get(id)
}

function isSealed(row: Json): row is { readonly sealed: string } {
  return typeof row === 'object' && row !== null && 'sealed' in row && typeof row.sealed === 'string'
}
