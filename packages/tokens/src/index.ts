export {
  type BearerTokenParts,
  createAdminToken,
  createSetupToken,
  type NewBearerToken,
  readAdminToken,
  readSetupToken,
} from './bearer-token.ts'
export { hashId, hashSecret, verifySecret } from './secret.ts'
export { createServiceToken, isServiceTokenId, type NewServiceToken } from './service-token.ts'
export {
  createTunnelToken,
  isTunnelId,
  MOST_TUNNEL_TOKENS,
  type NewTunnelToken,
  readTunnelToken,
  type TunnelTokenParts,
} from './tunnel-token.ts'
