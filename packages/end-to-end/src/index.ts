export { type ConnectorCertificate, checkAuthority, checkConnector, checkIdentity } from './check.ts'
export { certificateFingerprint, keyFingerprint } from './fingerprint.ts'
export { connectorUri, isConnectorId } from './name.ts'
