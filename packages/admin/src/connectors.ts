import { z } from 'zod'
import { instant, line, tunnelName } from './words.ts'

/** PEM of one certificate or public key; its meaning is the edge’s to check. */
export const pem = z
  .string()
  .min(1)
  .max(8192)
  .regex(/^-----BEGIN [A-Z ]+-----[\w+/=\s-]+$/)
  .meta({ description: 'PEM, at most 8192 characters' })

export const connectorId = z
  .string()
  .regex(/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
  .meta({ description: 'a UUID, made where the daemon runs' })

/** What the machine calls itself: its own word, for a person to recognise. */
const host = line.optional()

/** `sha256:` and hexadecimal digits. */
export const fingerprint = z.string().meta({ examples: [`sha256:${'0'.repeat(64)}`] })

/** What vouches for a tunnel’s daemons. Its key is where it was made, and never at the edge. */
export const identity = z
  .object({
    /** Of its public key: the same in every certificate of that key. */
    fingerprint,
    certificate: pem,
  })
  .meta({ id: 'TunnelIdentity' })

/** A daemon whose certificate is known, whether it runs or not. */
export const enrolledConnector = z
  .object({
    id: connectorId,
    /** Of its certificate. */
    fingerprint,
    host,
    createdAt: instant.optional(),
    expiresAt: instant,
    revokedAt: instant.optional(),
  })
  .meta({ id: 'EnrolledConnector' })

export const wantedConnector = z.strictObject({
  /** Signed by the tunnel’s identity; it names the tunnel and the connector, `postern:connector:<tunnel>:<id>`. */
  certificate: pem,
  host,
})

/** RFC 7517 §5: public members only. */
const jwks = z.object({ keys: z.array(z.record(z.string(), z.string())) }).meta({ id: 'GrantKeys' })

/** With the tunnel token, which is shown once and kept nowhere. */
export const shownConnector = z
  .object({
    tunnel: tunnelName,
    id: connectorId,
    fingerprint,
    expiresAt: instant,
    tokenId: z.string(),
    token: z.string(),
    /** What it knows the edge’s grants by, for end-to-end sessions: a JWK set. Absent from an older edge. */
    grantKeys: jwks.optional(),
  })
  .meta({ id: 'ShownConnector' })

/** A connector’s setup token: shown once. */
export const shownConnectorSetup = z
  .object({ tunnel: tunnelName, id: z.string(), token: z.string(), expiresAt: instant })
  .meta({ id: 'ShownConnectorSetup' })

export const wantedSignature = z.strictObject({
  connector: connectorId,
  /** SubjectPublicKeyInfo of the key that was made at the daemon. */
  publicKey: pem,
  host: line,
})

/** A daemon’s key that waits for the tunnel’s identity to sign it, on the machine that has that. */
export const signingRequest = z
  .object({
    id: z.string(),
    tunnel: tunnelName,
    connector: connectorId,
    publicKey: pem,
    /** Of the public key: the daemon shows the same. */
    fingerprint,
    host: line,
    remoteAddress: z.string().optional(),
    /** Who asked, as the audit log has it. */
    actor: z.string(),
    createdAt: instant,
    expiresAt: instant,
    /** Once it is signed. */
    certificate: pem.optional(),
  })
  .meta({ id: 'SigningRequest' })

export type EnrolledConnector = z.infer<typeof enrolledConnector>
export type ShownConnector = z.infer<typeof shownConnector>
export type ShownConnectorSetup = z.infer<typeof shownConnectorSetup>
export type SigningRequest = z.infer<typeof signingRequest>
