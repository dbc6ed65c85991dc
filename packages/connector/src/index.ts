export {
  type ConnectorCertificate,
  certificateFingerprint,
  checkAuthority,
  checkConnector,
  checkIdentity,
  connectorUri,
  isConnectorId,
  keyFingerprint,
} from '@postern/end-to-end'
