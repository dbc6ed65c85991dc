const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** Whether a word may be a connector's id: a UUID in lower case, made where the connector is. */
export function isConnectorId(word: string): boolean {
  return UUID.test(word)
}

/** What a connector's certificate is for: its only subject alternative name. */
export function connectorUri(tunnel: string, connector: string): string {
  return `postern:connector:${tunnel}:${connector}`
}

/** What the authority of a setup token is for: its only subject alternative name. It may sign this one connector, and nothing else. */
export function setupUri(tunnel: string, connector: string): string {
  return `postern:setup:${tunnel}:${connector}`
}
