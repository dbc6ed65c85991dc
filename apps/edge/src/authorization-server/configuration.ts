import { generateKeyPairSync, randomBytes } from 'node:crypto'
import type { AdapterFactory, Configuration, ErrorOut, KoaContextWithOIDC } from 'oidc-provider'
import type { Exchange } from '../front/exchange.ts'
import type { AuthorizationServerParts } from './needs.ts'
import {
  ACCESS_TOKEN_SECONDS,
  CALLBACKS,
  CLIENT_ID,
  DEVICE_CODE_SECONDS,
  INTERACTION_SECONDS,
  PATHS,
  SCOPE,
} from './words.ts'

export const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code'
export const EXCHANGE_GRANT = 'urn:ietf:params:oauth:grant-type:token-exchange'
/** Seconds. The session says when a sign-in ends, on every use; this is longer than any of them. */
const AS_LONG_AS_THE_SESSION = 3650 * 86_400
/** Seconds until a code is redeemed (RFC 6749 §4.1.2 says at most ten minutes). */
const CODE_SECONDS = 60
/** Seconds, of kinds that are never made. */
const NEVER = 1

export interface ConfigurationParts extends Pick<AuthorizationServerParts, 'sessions'> {
  readonly adapter: AdapterFactory
  readonly exchangeOf: (ctx: KoaContextWithOIDC) => Exchange
  /** Shows what went wrong to whoever asked. */
  readonly renderError: (ctx: KoaContextWithOIDC, out: ErrorOut) => void
}

/** One public client, authorization code with PKCE and device code; everything else that oidc-provider can do is off. */
export function configurationOf({ adapter, sessions, exchangeOf, renderError }: ConfigurationParts): Configuration {
  return {
    adapter,
    clients: [
      {
        client_id: CLIENT_ID,
        application_type: 'native',
        token_endpoint_auth_method: 'none',
        redirect_uris: [...CALLBACKS],
        response_types: ['code'],
        grant_types: ['authorization_code', 'refresh_token', DEVICE_GRANT, EXCHANGE_GRANT],
        // Leaves out `openid`: there are no ID tokens.
        scope: SCOPE,
        id_token_signed_response_alg: 'ES256',
      },
    ],
    scopes: [SCOPE],
    responseTypes: ['code'],
    clientAuthMethods: ['none'],
    // Nothing is signed with it: application tokens are the team keys'. oidc-provider has a published one where there is none.
    jwks: { keys: [{ ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' }) }] },
    enabledJWA: { idTokenSigningAlgValues: ['ES256'] },
    cookies: {
      names: {
        session: '__Host-postern-oauth',
        interaction: '__Secure-postern-interaction',
        resume: '__Secure-postern-resume',
      },
      long: { httpOnly: true, secure: true, sameSite: 'lax', signed: false },
      short: { httpOnly: true, secure: true, sameSite: 'lax', signed: true },
      // Interactions do not outlive the process, so neither does this.
      keys: [randomBytes(32).toString('base64url')],
    },
    // Shown to the person only. Which application a token is for is said when it is exchanged.
    extraParams: ['resource'],
    features: {
      devInteractions: { enabled: false },
      dPoP: { enabled: false },
      userinfo: { enabled: false },
      rpInitiatedLogout: { enabled: false },
      pushedAuthorizationRequests: { enabled: false },
      resourceIndicators: { enabled: false },
      requestObjects: { enabled: false },
      claimsParameter: { enabled: false },
      revocation: { enabled: true, allowedPolicy: (_ctx, client, token) => token.clientId === client.clientId },
      deviceFlow: {
        enabled: true,
        charset: 'base-20',
        mask: '****-****',
        deviceInfo: ctx => deviceOf(exchangeOf(ctx)),
      },
    },
    routes: {
      authorization: PATHS.authorize,
      token: PATHS.token,
      device_authorization: PATHS.deviceAuthorization,
      code_verification: PATHS.device,
      revocation: PATHS.revoke,
      jwks: PATHS.keys,
    },
    interactions: { url: (_ctx, interaction) => `${PATHS.interaction}${interaction.uid}` },
    ttl: {
      AccessToken: ACCESS_TOKEN_SECONDS,
      AuthorizationCode: CODE_SECONDS,
      DeviceCode: DEVICE_CODE_SECONDS,
      Grant: AS_LONG_AS_THE_SESSION,
      Interaction: INTERACTION_SECONDS,
      RefreshToken: AS_LONG_AS_THE_SESSION,
      Session: NEVER,
      IdToken: NEVER,
      ClientCredentials: NEVER,
      BackchannelAuthenticationRequest: NEVER,
      PreAuthorizedCode: NEVER,
    },
    // The account is the session: whatever hangs on one that has ended is refused here, on every use.
    findAccount: (_ctx, id) => {
      if (sessions.get(id) === undefined) return undefined
      sessions.touch(id)
      return { accountId: id, claims: async () => ({ sub: id }) }
    },
    expiresWithSession: () => false,
    issueRefreshToken: () => true,
    rotateRefreshToken: () => true,
    revokeGrantPolicy: () => true,
    clientBasedCORS: () => false,
    pkce: { required: () => true },
    renderError,
  }
}

/** What the person who approves is told of the device. */
export interface DeviceInfo {
  readonly address: string
  readonly userAgent?: string
}

function deviceOf({ presented }: Exchange): { [key: string]: unknown } & DeviceInfo {
  const [userAgent] = presented.headers['user-agent'] ?? []
  return { address: presented.remoteAddress, ...(userAgent !== undefined && { userAgent: userAgent.slice(0, 200) }) }
}
