import { hashSecret, randomSecret } from './secret.ts'

const PREFIX = 'ptt_'
/** A token with the longest tunnel id is 197 characters; nothing longer is looked at. */
const LONGEST_TOKEN = 256
const ENCODED = /^[A-Za-z0-9_-]+$/
const TUNNEL_ID = /^[a-z0-9][a-z0-9-]{0,62}$/
const SECRET = /^[A-Za-z0-9_-]{43}$/

/** A tunnel token as it is shown once. Only `hash`, of the secret inside, may be kept. */
export interface NewTunnelToken {
  /** `ptt_` and base64url of `{"t": tunnel id, "s": secret}`. */
  readonly token: string
  readonly hash: string
}

/** What a tunnel token says. Nothing is proved by it until the secret was compared. */
export interface TunnelTokenParts {
  readonly tunnelId: string
  readonly secret: string
}

/** Whether a word may be a tunnel's id: 1–63 lower-case letters, digits and hyphens, not starting with a hyphen. */
export function isTunnelId(word: string): boolean {
  return word.length <= 63 && TUNNEL_ID.test(word)
}

/**
 * Makes a token for a daemon of one tunnel.
 *
 * @throws RangeError when the tunnel id is not one ({@link isTunnelId})
 */
export function createTunnelToken(tunnelId: string): NewTunnelToken {
  if (!isTunnelId(tunnelId)) throw new RangeError('not a tunnel id: 1-63 lower-case letters, digits and hyphens')
  const secret = randomSecret()
  const encoded = Buffer.from(JSON.stringify({ t: tunnelId, s: secret })).toString('base64url')
  return { token: `${PREFIX}${encoded}`, hash: hashSecret(secret) }
}

/**
 * Reads a tunnel token strictly: one spelling only, at most 256 characters.
 *
 * @returns undefined for anything {@link createTunnelToken} could not have made
 */
export function readTunnelToken(token: string): TunnelTokenParts | undefined {
  if (token.length > LONGEST_TOKEN || !token.startsWith(PREFIX)) return undefined
  const encoded = token.slice(PREFIX.length)
  if (!ENCODED.test(encoded)) return undefined
  const parts = partsOf(Buffer.from(encoded, 'base64url').toString('utf8'))
  if (parts === undefined) return undefined
  // Another spelling of the same JSON (spaces, a third member, unused base64 bits) is not ours.
  const ours = Buffer.from(JSON.stringify({ t: parts.tunnelId, s: parts.secret })).toString('base64url')
  return ours === encoded ? parts : undefined
}

function partsOf(text: string): TunnelTokenParts | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null) return undefined
  const { t, s } = value as Record<string, unknown>
  if (typeof t !== 'string' || typeof s !== 'string' || !isTunnelId(t) || !SECRET.test(s)) return undefined
  return { tunnelId: t, secret: s }
}

/** Tokens of one tunnel that are looked at: enough for a rotation, few enough to compare each with what is presented. */
export const MOST_TUNNEL_TOKENS = 16
