import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { PosternError } from '@postern/interface'
import {
  createAuthority,
  issueCertificate,
  type KeyAndCertificate,
  makeKey,
  publicKeyOf,
  readAuthority,
} from '@postern/pki'
import { ensurePrivateFolder, readPrivateFile, writePrivateFile } from '@postern/store'

/** A certificate authority for development, on this machine only: what is made is trusted by whoever is given its file. */
export interface DevCa {
  /** PEM of the CA's certificate, to be given to clients and daemons with `--ca`. */
  readonly file: string
  /** @returns PEM; one hostname each, because Node and browsers refuse `*.localhost` */
  issue(hostname: string): Promise<{ readonly cert: string; readonly key: string; readonly renewAt: number }>
}

const DAY = 86_400_000
const CA_DAYS = 3650
/** Some clients refuse leaves of more than 398 days. */
const LEAF_DAYS = 90
const RENEW_DAYS = 30
/** Clocks of other machines may be behind. */
const BACK_DAYS = 1
/** Longer ones are in the alternative names only, which alone count. */
const MOST_COMMON_NAME = 64

/**
 * Opens the CA in a folder, or makes one on first start. The key of its leaves is made at each start, and kept nowhere.
 *
 * @throws PosternError FILE_UNSAFE, FILE_UNREADABLE; CONFIG_INVALID when only half of it is there, or it has expired
 */
export async function openDevCa(folder: string): Promise<DevCa> {
  await ensurePrivateFolder(folder)
  const paths = { cert: join(folder, 'ca.pem'), whole: join(folder, 'ca-key.pem') }
  const authority = (await readCa(paths)) ?? (await makeCa(paths))
  const key = await makeKey()
  const publicKey = publicKeyOf(key)
  return {
    file: paths.cert,
    issue: async hostname => {
      const { cert } = await issueCertificate(authority, {
        publicKey,
        ...(hostname.length <= MOST_COMMON_NAME && { commonName: hostname }),
        san: [{ type: 'dns', value: hostname }],
        usage: 'server',
        notBefore: Date.now() - BACK_DAYS * DAY,
        seconds: (LEAF_DAYS * DAY) / 1000,
      })
      return { cert, key, renewAt: Date.now() + (LEAF_DAYS - RENEW_DAYS) * DAY }
    },
  }
}

interface Paths {
  /** For others: a copy of what is in the next one. */
  readonly cert: string
  /** The key with its certificate: one file, so that there is never half a CA. */
  readonly whole: string
}

async function readCa(paths: Paths): Promise<KeyAndCertificate | undefined> {
  const [cert, whole] = [await readPrivateFile(paths.cert), await readPrivateFile(paths.whole)]
  if (cert === undefined && whole === undefined) return undefined
  // Older edges wrote the key by itself.
  const own = whole?.includes('-----BEGIN CERTIFICATE-----') ? whole : cert
  if (whole === undefined || own === undefined) {
    throw new PosternError('CONFIG_INVALID', `of ${paths.cert} and ${paths.whole} only one is there`, { next: NEXT })
  }
  const facts = lookAt(own, whole, paths)
  if (cert === undefined) await writePrivateFile(paths.cert, facts.cert)
  else if (lookAt(cert, whole, paths).fingerprint !== facts.fingerprint)
    throw new PosternError('CONFIG_INVALID', `${paths.cert} is not the certificate in ${paths.whole}`, { next: NEXT })
  return { cert: facts.cert, key: whole }
}

const NEXT =
  'Restore it; or move ca.pem and ca-key.pem away: a new CA is made then, and everybody needs its file again.'

function lookAt(cert: string, key: string, paths: Paths): ReturnType<typeof readAuthority> {
  try {
    return readAuthority(cert, key)
  } catch (cause) {
    const why = PosternError.from(cause).message
    throw new PosternError('CONFIG_INVALID', `the dev CA ${paths.cert} cannot be used: ${why}`, { cause, next: NEXT })
  }
}

async function makeCa(paths: Paths): Promise<KeyAndCertificate> {
  const commonName = `Postern dev CA ${randomBytes(4).toString('hex')}`
  const made = await createAuthority({ commonName, days: CA_DAYS })
  await writePrivateFile(paths.whole, made.key + made.cert)
  await writePrivateFile(paths.cert, made.cert)
  return made
}
