import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createAuthority, issueCertificate, makeKey, publicKeyOf } from '@postern/pki'
import { keep } from '../programs.ts'

/** The name that the certificate is for. */
export const SERVER_NAME = 'peer.localhost'

export interface TlsFiles {
  readonly caFile: string
  readonly certFile: string
  readonly keyFile: string
  /** Certificate and key in one file, as HAProxy wants them. */
  readonly bothFile: string
}

/** A CA and one server of it, with a key like the ones that the edge issues for: EC P-256. */
export async function makeTls(folder: string): Promise<TlsFiles> {
  const authority = await createAuthority({ commonName: 'bench peers', days: 2 })
  const key = await makeKey()
  const { cert } = await issueCertificate(authority, {
    publicKey: publicKeyOf(key),
    san: [{ type: 'dns', value: SERVER_NAME }],
    seconds: 86_400,
    usage: 'server',
  })
  const caFile = join(folder, 'peers-ca.pem')
  writeFileSync(caFile, authority.cert)
  return {
    caFile,
    certFile: keep(folder, 'peers.pem', cert),
    keyFile: keep(folder, 'peers-key.pem', key),
    bothFile: keep(folder, 'peers-both.pem', `${cert}\n${key}`),
  }
}
