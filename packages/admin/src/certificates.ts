import { z } from 'zod'
import { rules } from './rules.ts'
import { hostname, instant, line, tunnelName } from './words.ts'

/** Certificate authorities of a team and what they issue: answers and what is wanted. */

const DAY = 86_400
/** PEM of ten certificates, each as large as any is. */
const LONGEST_PEM = 49_152
/** Bytes of a PKCS#10 request; one for RSA 4096 has 1,700. */
const LONGEST_REQUEST = 16_384

export const authorityName = tunnelName

/** A CA by its id or name. */
export const authorityRef = z
  .string()
  .min(1)
  .max(63)
  .meta({ description: 'a CA’s id or name', examples: ['team'] })

const fingerprint = z
  .string()
  .regex(/^[0-9a-f]{64}$/)
  .meta({ description: 'SHA-256 of the DER, lower-case hex' })

/** As OpenSSL and Postern print it: with colons or without, in any case. */
export const serial = z
  .string()
  .regex(/^[0-9A-Fa-f:]{1,64}$/)
  .meta({ description: 'a certificate’s serial number, hex', examples: ['5f0c33a1'] })

/** A subject alternative name (RFC 5280 §4.2.1.6). */
export const subjectName = z
  .strictObject({
    type: z.enum(['dns', 'email', 'uri', 'ip']),
    value: z
      .string()
      .min(1)
      .max(512)
      .regex(/^[!-~]+$/),
  })
  .meta({ id: 'SubjectName' })

/** Seconds a certificate lasts at most: five minutes to 825 days, which is what is taken for servers, too. */
const leafSeconds = z
  .int()
  .min(300)
  .max(825 * DAY)
  .meta({ description: 'seconds, 300 to 71280000', examples: [30 * DAY] })
/** Seconds from the first issue that a certificate renews itself; 0: never. */
const renewSeconds = z
  .int()
  .min(0)
  .max(3660 * DAY)
  .meta({ description: 'seconds, 0 (never) to 316224000', examples: [365 * DAY] })

const days = z
  .int()
  .min(1)
  .max(9131)
  .meta({ description: 'days, 1 to 9131', examples: [3650] })
const keyType = z.enum(['ec', 'rsa'])
const hostnames = z.array(hostname).min(1).max(100)
const pem = z.string().min(1).max(LONGEST_PEM)

const settings = {
  /** Who may ask for a certificate; none: nobody but administrators. */
  rules: rules.default([]),
  /** The only applications whose rules may name it; absent: every one. */
  hostnames: hostnames.exactOptional(),
  leafSeconds: leafSeconds.default(30 * DAY),
  renewSeconds: renewSeconds.default(365 * DAY),
}

const newCertificate = {
  /** Default: the name. */
  commonName: line.max(64).exactOptional(),
  days: days.default(3650),
  keyType: keyType.default('ec'),
}

export const wantedAuthority = z
  .strictObject({ name: authorityName, ...newCertificate, ...settings })
  .meta({ id: 'WantedAuthority' })

/** Of another program. Without its key it only says whose certificates are good. */
const imported = { certificates: pem, key: pem.exactOptional() }

export const importedAuthority = z
  .strictObject({ name: authorityName, ...imported, ...settings })
  .meta({ id: 'ImportedAuthority' })

/** What is not mentioned stays. */
export const changedAuthority = z
  .strictObject({
    rules: rules.exactOptional(),
    /** `null`: every application. */
    hostnames: hostnames.nullable().exactOptional(),
    leafSeconds: leafSeconds.exactOptional(),
    renewSeconds: renewSeconds.exactOptional(),
    /** Refused with CONFLICT unless the edge is still at this version. */
    ifVersion: z.int().optional(),
  })
  .meta({ id: 'ChangedAuthority' })

/** One more certificate of the CA: made here, or of another program. With its key it issues from now on. */
export const wantedRotation = z
  .union([z.strictObject(newCertificate), z.strictObject(imported)])
  .meta({ id: 'WantedRotation' })

export const oneAuthority = z.strictObject({ ca: authorityRef })
export const oneAuthorityCertificate = z.strictObject({ ca: authorityRef, fingerprint })

export const wantedRevocationList = z
  .strictObject({
    /** PEM (`X509 CRL`), or DER in base64. */
    crl: z.string().min(1),
  })
  .meta({ id: 'WantedRevocationList' })

export const wantedCertificate = z
  .strictObject({
    /** PEM (PKCS#10). Of it nothing counts but the key, and that whoever asks has it. */
    csr: z.string().min(1).max(LONGEST_REQUEST),
    commonName: line.max(64).exactOptional(),
    san: z.array(subjectName).max(100).default([]),
    /** Default, and at most: what the CA says. */
    seconds: leafSeconds.exactOptional(),
  })
  .meta({ id: 'WantedCertificate' })

/** Which certificates: exactly one way to say it. */
export const revokedCertificates = z
  .union([
    /** This one, and those that were renewed with it. */
    z.strictObject({ serial }),
    /** All of the person with this address in them. */
    z.strictObject({ email: z.string().min(3).max(254) }),
    /** All that whoever this is asked for. */
    z.strictObject({ issuer: z.string().min(1).max(512), subject: z.string().min(1).max(512) }),
  ])
  .meta({ id: 'RevokedCertificates' })

const revocationList = z.object({
  number: z.string().optional(),
  thisUpdate: instant,
  /** After it nothing of this CA is let in. */
  nextUpdate: instant.optional(),
  serials: z.int(),
})

export const authority = z
  .object({
    id: z.string(),
    name: authorityName,
    /** All of them are trusted alike. */
    certificates: z.array(
      z.object({
        fingerprint,
        subject: z.string(),
        notBefore: instant,
        notAfter: instant,
        keyType: z.string(),
        /** Whether it is the one that issues. */
        issuing: z.boolean(),
        pem: z.string(),
      }),
    ),
    hostnames: z.array(hostname).optional(),
    rules,
    leafSeconds: z.int(),
    renewSeconds: z.int(),
    createdAt: instant,
    revocationList: revocationList.optional(),
    /** Those whose rules name it. */
    applications: z.array(hostname),
  })
  .meta({ id: 'Authority' })

export const certificate = z
  .object({
    /** The CA’s name. */
    ca: authorityName,
    serial: z.string(),
    fingerprint,
    commonName: z.string().optional(),
    san: z.array(z.object({ type: z.enum(['dns', 'email', 'uri', 'ip']), value: z.string() })),
    notBefore: instant,
    notAfter: instant,
    issuedAt: instant,
    /** Who asked for it; absent: an administrator. */
    holder: z.object({ issuer: z.string(), subject: z.string() }).optional(),
    by: z.string(),
    /** Serial of the one that it renews. */
    replaces: z.string().optional(),
    /** Until when its key gets a further one. */
    renewUntil: instant.optional(),
    revokedAt: instant.optional(),
  })
  .meta({ id: 'Certificate' })

/** With the certificate itself, and what stands above it, PEM. */
export const issuedCertificate = certificate
  .extend({ certificate: z.string(), chain: z.string() })
  .meta({ id: 'IssuedCertificate' })

export type SubjectName = z.infer<typeof subjectName>
export type Authority = z.infer<typeof authority>
export type Certificate = z.infer<typeof certificate>
export type IssuedCertificate = z.infer<typeof issuedCertificate>
