import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import type { Tls } from './nginx.ts'

/** A certificate of nobody, with a key as the edge's own CA makes them. */
export function makeCertificate(folder: string): Tls {
  const [certFile, keyFile] = [join(folder, 'certificate.pem'), join(folder, 'key.pem')]
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', keyFile]
  execFileSync('openssl', ['req', '-x509', ...key, '-out', certFile, '-subj', '/CN=localhost', '-days', '2'], {
    stdio: 'ignore',
  })
  return { certFile, keyFile }
}
