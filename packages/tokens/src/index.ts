export {
  type BearerTokenParts,
  createAdminToken,
  createConnectorSetup,
  createInvitation,
  createSetupToken,
  type NewBearerToken,
  readAdminToken,
  readConnectorSetup,
  readInvitation,
  readSetupToken,
} from './bearer-token.ts'
export { type Algorithm, LONGEST_TOKEN } from './compact-jws.ts'
export {
  GRANT_SECONDS,
  GRANT_TOLERANCE_SECONDS,
  GRANT_TYP,
  type Grant,
  type GrantReader,
  readGrant,
  rememberUntil,
  signGrant,
} from './grant.ts'
export { GRANT_KEYS_TYP, type GrantKeySet, readGrantKeys, signGrantKeys } from './grant-keys.ts'
export {
  IDENTITY_HEADER,
  IDENTITY_TYP,
  identityClaims,
  readIdentityClaims,
  type TokenIdentity,
} from './identity-token.ts'
export { KeyRing, type KeyRingOptions, type SignOptions, type StoredKeyRing } from './key-ring.ts'
export { type Jwks, type PublicJwk, readJwks, type VerificationKey } from './public-keys.ts'
export { hashId, hashSecret, verifySecret } from './secret.ts'
export { createServiceToken, isServiceTokenId, type NewServiceToken } from './service-token.ts'
export type { KeyState, StoredKey } from './signing-key.ts'
export { createTicket } from './ticket.ts'
export {
  createTunnelToken,
  isTunnelId,
  MOST_TUNNEL_TOKENS,
  type NewTunnelToken,
  readTunnelToken,
  type TunnelTokenParts,
} from './tunnel-token.ts'
export {
  checkExpected,
  type ExpectedToken,
  type FindKey,
  type TokenClaims,
  type VerifiedToken,
  verifyToken,
} from './verify-token.ts'
