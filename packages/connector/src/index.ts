export {
  type ConnectorCertificate,
  type ConnectorChain,
  certificateFingerprint,
  checkAuthority,
  checkChain,
  checkConnector,
  checkIdentity,
  connectorUri,
  isConnectorId,
  keyFingerprint,
  type SetupAuthority,
  setupUri,
} from '@postern/end-to-end'
