import { X509Certificate } from 'node:crypto'
import { createAuthority, issueCertificate, makeKey, publicKeyOf } from '@postern/pki'

export interface IssuedCertificate {
  readonly cert: string
  readonly key: string
  /** DER of the certificate. */
  readonly der: Uint8Array
}

export interface Subject {
  readonly commonName: string
  readonly dnsNames?: readonly string[]
  readonly ipAddresses?: readonly string[]
  /** Default `server`. */
  readonly usage?: 'server' | 'client'
}

export interface Authority {
  readonly ca: string
  /** The same subject gives the same certificate, once made. It is good for a day. */
  issue(subject: Subject): Promise<IssuedCertificate>
}

const DAY_SECONDS = 86_400
const authorities = new Map<string, Promise<Authority>>()

/** A CA for this process: EC P-256, made once a name. */
export function authority(name = 'Postern test CA'): Promise<Authority> {
  const known = authorities.get(name) ?? make(name)
  authorities.set(name, known)
  return known
}

async function make(name: string): Promise<Authority> {
  const ca = await createAuthority({ commonName: name, days: 2 })
  const issued = new Map<string, Promise<IssuedCertificate>>()
  const issue = async ({ commonName, dnsNames = [], ipAddresses = [], usage = 'server' }: Subject) => {
    const key = await makeKey()
    const names = [
      ...dnsNames.map(value => ({ type: 'dns', value }) as const),
      ...ipAddresses.map(value => ({ type: 'ip', value }) as const),
    ]
    const wanted = { publicKey: publicKeyOf(key), commonName, san: names, seconds: DAY_SECONDS, usage }
    const { cert } = await issueCertificate(ca, wanted)
    return { cert, key, der: new Uint8Array(new X509Certificate(cert).raw) }
  }
  return {
    ca: ca.cert,
    issue: subject => {
      const key = JSON.stringify(subject)
      const known = issued.get(key) ?? issue(subject)
      issued.set(key, known)
      return known
    },
  }
}
