import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { PosternError } from '@postern/interface'
import { createAuthority, readAuthorities } from '@postern/pki'
import type { Seal } from '../keys/seal.ts'
import { fingerprintOf } from './authorities.ts'
import type { AuthorityRecord } from './records.ts'

/** Certificates of one CA at a time: each is a trust anchor of its own. */
export const MOST_CERTIFICATES = 10

/** Certificates that a CA gets, and what it issues with from now on. */
export interface AuthorityCertificates {
  /** PEM, one each. */
  readonly certificates: readonly string[]
  readonly issuing?: NonNullable<AuthorityRecord['issuing']>
}

/** A new key, and a certificate that says of itself that it is a CA. */
export async function newCertificate(
  name: string,
  wanted: { readonly commonName?: string; readonly days: number; readonly keyType: 'ec' | 'rsa' },
  seal: Pick<Seal, 'seal'>,
): Promise<AuthorityCertificates> {
  const { commonName = name, days, keyType } = wanted
  const { cert, key } = await createAuthority({ commonName, days, keyType })
  return { certificates: [cert], issuing: { fingerprint: fingerprintOf(cert), sealedKey: seal.seal(key) } }
}

/**
 * Certificates of a CA that is elsewhere, perhaps with the key of one of them.
 *
 * @param text PEM, one or more
 * @throws PosternError BAD_USAGE: no CA's, weak, expired, or a key of another one
 */
export function importedCertificates(
  { certificates: text, key }: { readonly certificates: string; readonly key?: string },
  seal: Pick<Seal, 'seal'>,
): AuthorityCertificates {
  const found = [...new Map(readSent(() => readAuthorities(text)).map(one => [one.fingerprint, one])).values()]
  const certificates = found.map(({ cert }) => cert)
  if (key === undefined) return { certificates }
  const secret = readKey(key)
  const own = found.find(({ cert }) => new X509Certificate(cert).checkPrivateKey(secret))
  if (own === undefined) throw badUsage('the key is not that of any of the certificates')
  const pkcs8 = secret.export({ type: 'pkcs8', format: 'pem' }).toString()
  return { certificates, issuing: { fingerprint: own.fingerprint, sealedKey: seal.seal(pkcs8) } }
}

/** What would be wrong with a file where it lies is here wrong with what was sent. */
function readSent<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw asSent(error)
  }
}

export function asSent(error: unknown): unknown {
  if (!PosternError.is(error) || error.code !== 'CONFIG_INVALID') return error
  return new PosternError('BAD_USAGE', error.message, { speaker: 'edge', next: error.next })
}

/** Without the cause: it may repeat what was sent. */
function readKey(key: string): KeyObject {
  try {
    return createPrivateKey(key)
  } catch {
    throw badUsage('the key cannot be read: it must be PEM, and not encrypted')
  }
}

function badUsage(message: string): PosternError {
  return new PosternError('BAD_USAGE', message, { speaker: 'edge' })
}
