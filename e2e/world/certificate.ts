import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** A certificate that nobody trusts but who is told to, in `idp.pem` of the folder, with its key beside it. */
export function makeCertificate(folder: string): { readonly cert: string; readonly key: string } {
  const [cert, key] = [join(folder, 'idp.pem'), join(folder, 'idp.key')]
  const subject = ['-subj', '/CN=idp.localhost', '-addext', 'subjectAltName=DNS:idp.localhost']
  const made = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key]
  execFileSync('openssl', [...made, '-out', cert, ...subject, '-days', '2'], { stdio: 'ignore' })
  return { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') }
}
