/** The names of the sample world. All end in `.localhost`, which is this machine (RFC 6761): no DNS, no hosts file. */
export const TEAM_DOMAIN = 'edge.localhost'
export const SSH_HOST = 'ssh.localhost'
export const ECHO_HOST = 'echo.localhost'
/** A web application, and SSH on the same name. */
export const APP_HOST = 'app.localhost'
/** A second web application. */
export const WIKI_HOST = 'wiki.localhost'
/** A web application that the sample person may not open. */
export const VAULT_HOST = 'vault.localhost'
