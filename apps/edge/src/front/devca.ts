import { generateKeyPair, randomBytes, X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { PosternError } from '@postern/interface'
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

const makeKeyPair = promisify(generateKeyPair)

/**
 * Opens the CA in a folder, or makes one on first start.
 *
 * @throws PosternError FILE_UNSAFE, FILE_UNREADABLE; CONFIG_INVALID when only half of it is there
 */
export async function openDevCa(folder: string): Promise<DevCa> {
  await ensurePrivateFolder(folder)
  const paths = { cert: join(folder, 'ca.pem'), key: join(folder, 'ca-key.pem'), leafKey: join(folder, 'edge-key.pem') }
  const forge = (await import('node-forge')).default
  const found = await readPrivateFile(paths.leafKey)
  // The leaf's key is made last. Without it, a CA's key alone is what a first start left that was killed in its middle.
  const unborn = found === undefined ? await readPrivateFile(paths.key) : undefined
  const ca = (await readCa(paths, unborn !== undefined)) ?? (await makeCa(paths, forge, unborn))
  const leafKey = found ?? (await makeKey(paths.leafKey))
  const signer = { cert: forge.pki.certificateFromPem(ca.cert), key: forge.pki.privateKeyFromPem(ca.key) }
  return {
    file: paths.cert,
    issue: async hostname => ({
      cert: issueLeaf(forge, signer, leafKey, hostname),
      key: leafKey,
      renewAt: Date.now() + (LEAF_DAYS - RENEW_DAYS) * DAY,
    }),
  }
}

interface Paths {
  readonly cert: string
  readonly key: string
}

type Forge = typeof import('node-forge')
interface Signer {
  readonly cert: import('node-forge').pki.Certificate
  readonly key: import('node-forge').pki.rsa.PrivateKey
}

/** @param unborn whether a key alone may be the beginning of one */
async function readCa(paths: Paths, unborn: boolean): Promise<{ cert: string; key: string } | undefined> {
  const [cert, key] = [await readPrivateFile(paths.cert), await readPrivateFile(paths.key)]
  if (cert === undefined && (key === undefined || unborn)) return undefined
  if (cert === undefined || key === undefined) {
    throw new PosternError('CONFIG_INVALID', `of ${paths.cert} and ${paths.key} only one is there`, {
      next: 'Restore the other, or move it away: a new CA is made then, and everybody needs its file again.',
    })
  }
  if (new X509Certificate(cert).validToDate.getTime() < Date.now()) {
    throw new PosternError('CONFIG_INVALID', `the dev CA ${paths.cert} has expired`, {
      next: 'Move ca.pem and ca-key.pem away: a new CA is made then, and everybody needs its file again.',
    })
  }
  return { cert, key }
}

/** node:crypto makes the keys: forge takes seconds for one, and is not to be trusted with it. */
async function makeKey(path: string): Promise<string> {
  const { privateKey } = await makeKeyPair('rsa', { modulusLength: 2048 })
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  await writePrivateFile(path, pem)
  return pem
}

async function makeCa(paths: Paths, forge: Forge, begun: string | undefined): Promise<{ cert: string; key: string }> {
  const key = begun ?? (await makeKey(paths.key))
  const cert = newCertificate(forge, key, CA_DAYS)
  const name = [{ name: 'commonName', value: `Postern dev CA ${randomBytes(4).toString('hex')}` }]
  cert.setSubject(name)
  cert.setIssuer(name)
  cert.setExtensions([
    { name: 'basicConstraints', critical: true, cA: true, pathLenConstraint: 0 },
    { name: 'keyUsage', critical: true, keyCertSign: true, cRLSign: true },
    { name: 'subjectKeyIdentifier' },
  ])
  cert.sign(forge.pki.privateKeyFromPem(key), forge.md.sha256.create())
  const pem = forge.pki.certificateToPem(cert)
  await writePrivateFile(paths.cert, pem)
  return { cert: pem, key }
}

function issueLeaf(forge: Forge, ca: Signer, key: string, hostname: string): string {
  const cert = newCertificate(forge, key, LEAF_DAYS)
  // The name is in the extension, which alone counts; a common name holds 64 characters only.
  cert.setSubject([{ name: 'organizationName', value: 'Postern development' }])
  cert.setIssuer(ca.cert.subject.attributes)
  cert.setExtensions([
    { name: 'basicConstraints', critical: true, cA: false },
    { name: 'keyUsage', critical: true, digitalSignature: true, keyEncipherment: true },
    { name: 'extKeyUsage', serverAuth: true },
    { name: 'subjectAltName', altNames: [{ type: 2, value: hostname }] },
    { name: 'subjectKeyIdentifier' },
    { name: 'authorityKeyIdentifier', keyIdentifier: ca.cert.generateSubjectKeyIdentifier().getBytes() },
  ])
  cert.sign(ca.key, forge.md.sha256.create())
  return forge.pki.certificateToPem(cert)
}

function newCertificate(forge: Forge, privateKey: string, days: number): Signer['cert'] {
  const cert = forge.pki.createCertificate()
  const { n, e } = forge.pki.privateKeyFromPem(privateKey)
  cert.publicKey = forge.pki.setRsaPublicKey(n, e)
  // 16 random bytes, positive and without a leading zero byte.
  const serial = randomBytes(16)
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40
  cert.serialNumber = serial.toString('hex')
  cert.validity.notBefore = new Date(Date.now() - BACK_DAYS * DAY)
  cert.validity.notAfter = new Date(Date.now() + days * DAY)
  return cert
}
