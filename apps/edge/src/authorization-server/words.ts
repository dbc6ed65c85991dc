/** The one client there is: Postern's own programs. Public: anybody can say that they are it. */
export const CLIENT_ID = 'postern'
/** What its tokens are good for: being exchanged for a token of one application. */
export const SCOPE = 'postern'
/** What reads the answer of a browser sign-in on the person's own computer; any port (RFC 8252 §7.3). */
export const CALLBACKS: readonly string[] = ['http://127.0.0.1/callback', 'http://[::1]/callback']

/** Seconds, at most, that a token is good for which cannot be taken back where it is verified. */
export const ACCESS_TOKEN_SECONDS = 600
/** `typ` of what administers: taken for nothing else. */
export const ADMINISTRATION_TYP = 'postern-administration+jwt'
/** Seconds that a sign-in may be old by which a program administers; as old as the administrators' pages take it. */
export const ADMINISTRATION_AGE: number = 12 * 3600
/** Seconds from the question in the browser to its answer, signing in included. */
export const INTERACTION_SECONDS = 900
/** Seconds that a code typed on another device is good for. */
export const DEVICE_CODE_SECONDS = 600
/** Seconds between two polls of a device (RFC 8628 §3.5). */
export const POLL_SECONDS = 5

/** Paths on the team domain. */
export const PATHS = {
  authorize: '/oauth/authorize',
  token: '/oauth/token',
  deviceAuthorization: '/oauth/device_authorization',
  revoke: '/oauth/revoke',
  userinfo: '/oauth/userinfo',
  interaction: '/oauth/interaction/',
  device: '/device',
  keys: '/.well-known/jwks.json',
  openid: '/.well-known/openid-configuration',
  metadata: '/.well-known/oauth-authorization-server',
} as const
