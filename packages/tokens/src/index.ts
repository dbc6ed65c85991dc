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
