import { createPublicKey } from 'node:crypto'
import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { testAuthority } from '@postern/compliance'
import type { Json, Records } from '@postern/interface'
import {
  createAuthority,
  type IssuedCertificate,
  issueCertificate,
  type KeyAndCertificate,
  makeKey,
  type SubjectName,
} from '@postern/pki'

export const CA_ID = '00112233445566aa'
const DAY = 86_400

/** A certificate in files, as the client side is given it. */
export interface InFiles {
  readonly cert: string
  readonly key: string
}

export interface Wanted {
  readonly commonName?: string
  readonly san?: readonly SubjectName[]
  readonly usage?: 'client' | 'server' | 'connector-authority'
  readonly notBefore?: number
  readonly seconds?: number
}

export interface Made extends KeyAndCertificate {
  readonly issued: IssuedCertificate
  readonly files: InFiles
}

/** A CA, and a folder for what it issues. */
export class TestCa {
  readonly folder: string = mkdtempSync(join(tmpdir(), 'postern-mtls-'))
  readonly pair: KeyAndCertificate
  #count = 0

  constructor(pair: KeyAndCertificate) {
    this.pair = pair
  }

  static async make(commonName = 'Staff CA', pathLength = 0): Promise<TestCa> {
    return new TestCa(await createAuthority({ commonName, days: 30, pathLength }))
  }

  async issue({
    commonName = 'Ann',
    san = [{ type: 'email', value: 'ann@example.com' }],
    ...more
  }: Wanted = {}): Promise<Made> {
    const key = await makeKey('ec')
    const publicKey = createPublicKey(key).export({ type: 'spki', format: 'pem' }).toString()
    const issued = await issueCertificate(this.pair, {
      commonName,
      san,
      seconds: DAY,
      usage: 'client',
      ...more,
      publicKey,
    })
    const name = `leaf${++this.#count}`
    const files = { cert: this.write(`${name}.pem`, issued.cert), key: this.write(`${name}.key`, key) }
    return { cert: issued.cert, key, issued, files }
  }

  /** A file that nobody else may read. */
  write(name: string, text: string | Uint8Array): string {
    const path = join(this.folder, name)
    writeFileSync(path, text, { mode: 0o600 })
    chmodSync(path, 0o600)
    return path
  }

  get record(): { [key: string]: Json } {
    return { name: 'staff', certificates: [this.pair.cert], rules: [], leafSeconds: DAY, renewSeconds: 0, createdAt: 1 }
  }
}

/** One of each, of two CAs, and their rows as the edge keeps them. */
export async function certificates() {
  const [ca, old] = await Promise.all([TestCa.make(), testAuthority('Old CA')])
  const [good, ofServer, revoked] = await Promise.all([ca.issue(), ca.issue({ usage: 'server' }), ca.issue()])
  const hoursAgo = (hours: number) => Date.now() - hours * 3_600_000
  const { cert, key } = old.issue({ commonName: 'old', notBefore: hoursAgo(9), notAfter: hoursAgo(8) })
  const expired = { cert: ca.write('old.pem', cert), key: ca.write('old.key', key) }
  const seed = async (records: Records) => {
    await records.put(`ca.${CA_ID}`, ca.record)
    await records.put('ca.ffff', { ...ca.record, name: 'old', certificates: [old.ca] })
    await records.put(`revoked.${CA_ID}.${revoked.issued.serial}`, { at: 1 })
  }
  const files = { good: good.files, ofServer: ofServer.files, revoked: revoked.files, expired }
  return { authorities: [ca.pair.cert, old.ca], files, seed }
}
