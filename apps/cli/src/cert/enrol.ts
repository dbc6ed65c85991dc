import { X509Certificate } from 'node:crypto'
import { type Call, type Json, PosternError } from '@postern/interface'
import type { Credentials } from '../credential.ts'
import { postJson } from '../post-json.ts'
import { belong, type Pair } from './files.ts'

const PATH = '/.postern/certificate'

export interface Enrolled extends Pair {
  readonly ca: string
  readonly serial: string
  readonly notAfter: string
  /** Absent: it does not renew itself. */
  readonly renewUntil?: string
}

export interface Wanted {
  /** The CA's name; absent: the one that is meant there. */
  readonly authority: string | undefined
  readonly seconds: number | undefined
}

/**
 * A new key, which stays here, and the certificate that an edge gives for it.
 *
 * @throws PosternError the edge's refusal; EDGE_PROTOCOL: a certificate for another key
 */
export async function enrol(credentials: Credentials, { authority, seconds }: Wanted, call: Call): Promise<Enrolled> {
  const { createCertificateRequest, makeKey } = await import('@postern/pki')
  const key = await makeKey()
  const csr = await createCertificateRequest(key)
  const path = authority === undefined ? PATH : `${PATH}?ca=${encodeURIComponent(authority)}`
  const answer = await postJson(credentials, path, { csr, ...(seconds !== undefined && { seconds }) }, call)
  const { certificate, ca, serial, notAfter, renewUntil } = isMap(answer) ? answer : {}
  const isWhole = [certificate, ca, serial, notAfter].every(one => typeof one === 'string')
  if (!isWhole || !belong({ cert: String(certificate), key }))
    throw new PosternError('EDGE_PROTOCOL', 'the edge answered without a certificate for the key that was made')
  return {
    key,
    cert: String(certificate),
    ca: String(ca),
    serial: String(serial),
    notAfter: String(notAfter),
    ...(typeof renewUntil === 'string' && { renewUntil }),
  }
}

/** As people read it, one line each. */
export function namesOf({ cert }: Pair): string {
  const { subject, subjectAltName } = new X509Certificate(cert)
  return [subject.split('\n').join(', '), subjectAltName ?? ''].filter(one => one !== '').join('; ')
}

function isMap(value: Json): value is { readonly [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
