export {
  type ConnectorCertificate,
  type ConnectorChain,
  checkAuthority,
  checkChain,
  checkConnector,
  checkIdentity,
  type SetupAuthority,
} from './check.ts'
export { certificateFingerprint, keyFingerprint } from './fingerprint.ts'
export { connectorUri, isConnectorId, setupUri } from './name.ts'
