import { z } from 'zod'
import * as certificates from './certificates.ts'
import type { Route } from './route.ts'

/** Routes of certificate authorities and of what they issue. */
export const CERTIFICATE_ROUTES = {
  'ca.list': {
    method: 'GET',
    path: '/certificate-authorities',
    role: 'viewer',
    summary: 'The CAs whose certificates are known here',
    answer: z.array(certificates.authority),
  },
  'ca.create': {
    method: 'POST',
    path: '/certificate-authorities',
    role: 'admin',
    summary: 'A CA with a new key, which never leaves the edge',
    body: certificates.wantedAuthority,
    answer: certificates.authority,
  },
  'ca.import': {
    method: 'POST',
    path: '/certificate-authorities/import',
    role: 'admin',
    summary: 'A CA of another program; with its key, which is never shown again, it issues here too',
    body: certificates.importedAuthority,
    answer: certificates.authority,
  },
  'ca.get': {
    method: 'GET',
    path: '/certificate-authorities/{ca}',
    role: 'viewer',
    summary: 'A CA, by id or name',
    params: certificates.oneAuthority,
    answer: certificates.authority,
  },
  'ca.put': {
    method: 'PUT',
    path: '/certificate-authorities/{ca}',
    role: 'admin',
    summary: 'Changes who may ask for certificates, how long they last, and where the CA may be named',
    params: certificates.oneAuthority,
    body: certificates.changedAuthority,
    answer: certificates.authority,
  },
  'ca.rotate': {
    method: 'POST',
    path: '/certificate-authorities/{ca}/rotate',
    role: 'admin',
    summary: 'A further certificate of a CA, which issues from now on; those of the ones before stay good',
    params: certificates.oneAuthority,
    body: certificates.wantedRotation,
    answer: certificates.authority,
  },
  'ca.retire': {
    method: 'DELETE',
    path: '/certificate-authorities/{ca}/certificates/{fingerprint}',
    role: 'admin',
    summary: 'Takes a certificate of a CA away that issues no more; who came by what it issued is cut off',
    params: certificates.oneAuthorityCertificate,
    answer: certificates.authority,
  },
  'ca.delete': {
    method: 'DELETE',
    path: '/certificate-authorities/{ca}',
    role: 'admin',
    summary: 'Removes a CA that no rule names; who came by its certificates is cut off',
    params: certificates.oneAuthority,
  },
  'crl.put': {
    method: 'PUT',
    path: '/certificate-authorities/{ca}/revocation-list',
    role: 'admin',
    summary: 'Replaces a CA’s revocation list; who came by what it lists is cut off',
    params: certificates.oneAuthority,
    body: certificates.wantedRevocationList,
    answer: certificates.authority,
  },
  'crl.delete': {
    method: 'DELETE',
    path: '/certificate-authorities/{ca}/revocation-list',
    role: 'admin',
    summary: 'Takes a CA’s revocation list away: what it lists is good again',
    params: certificates.oneAuthority,
    answer: certificates.authority,
  },

  'certificate.list': {
    method: 'GET',
    path: '/certificates',
    role: 'viewer',
    summary: 'The certificates that were issued here and have not expired, newest first, 1,000 at most',
    query: z.strictObject({
      ca: certificates.authorityRef.optional(),
      /** An address in it, or its common name. */
      name: z.string().min(1).max(512).optional(),
      serial: certificates.serial.optional(),
    }),
    answer: z.array(certificates.certificate),
  },
  'certificate.issue': {
    method: 'POST',
    path: '/certificate-authorities/{ca}/certificates',
    role: 'admin',
    summary: 'A certificate for the key of a request, with the names that are given',
    params: certificates.oneAuthority,
    body: certificates.wantedCertificate,
    answer: certificates.issuedCertificate,
  },
  'certificate.revoke': {
    method: 'POST',
    path: '/certificate-authorities/{ca}/revoke',
    role: 'admin',
    summary: 'Revokes certificates of a CA, by serial or holder; who came by them is cut off',
    params: certificates.oneAuthority,
    body: certificates.revokedCertificates,
    answer: z.object({
      /** Those that were good until now. */
      revoked: z.int(),
    }),
  },
} as const satisfies Readonly<Record<string, Route>>
