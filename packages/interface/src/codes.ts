/** What the catalogue says of one error code. */
export interface CodeFacts {
  /** The status a process ends with when this code ends it (documented in docs/errors.md, never renumbered). */
  readonly exit: number
  /** The HTTP status the edge answers with, where the edge can be the one who says it. */
  readonly status?: number
  /** What happened, in a few words; a message says to what. */
  readonly title: string
  /** What the reader does next. */
  readonly next: string
}

/**
 * Every way Postern can fail: the one table behind exit codes, HTTP statuses and `docs/errors.md`.
 *
 * Groups of exit codes: 1–9 this machine, 10–19 who you are, 20–29 the edge, 30–39 behind the edge,
 * 40–49 a connection that was open, 50–59 plugins as they are installed, 60–69 plugins, 70–79 the edge's own state.
 */
export const CODES = {
  INTERNAL: {
    exit: 1,
    status: 500,
    title: 'Postern failed',
    next: 'Run it again with --log-level debug and report what it printed.',
  },
  BAD_USAGE: { exit: 2, status: 400, title: 'The command or request is not valid', next: 'See the command’s --help.' },
  OPTION_UNKNOWN: {
    exit: 2,
    title: 'An option is not known',
    next: 'Use the option the message names, or see --help.',
  },
  OPTION_MISSING: {
    exit: 2,
    title: 'A required option is missing',
    next: 'Give it as a flag, by environment variable or in the config file.',
  },
  OPTION_INVALID: {
    exit: 2,
    title: 'An option has a value it cannot have',
    next: 'Correct the value; --help shows the form.',
  },
  OPTION_CONFLICT: { exit: 2, title: 'Two options contradict each other', next: 'Leave one of them out.' },
  HOSTNAME_INVALID: {
    exit: 2,
    status: 400,
    title: 'The hostname is not one',
    next: 'Use letters, digits, hyphens and dots only, for example db.example.com.',
  },
  CONFIG_INVALID: {
    exit: 3,
    title: 'A configuration file is not valid',
    next: 'Correct the line the message names; nothing was changed.',
  },
  LISTEN_FAILED: {
    exit: 4,
    title: 'A local address cannot be listened on',
    next: 'Choose another port, or stop what is using it.',
  },
  FILE_UNSAFE: {
    exit: 5,
    title: 'A file or folder that must be yours alone is open to others',
    next: 'chmod 600 the file, and chmod 700 its folder.',
  },
  FILE_UNREADABLE: { exit: 5, title: 'A file cannot be read', next: 'Check the path and its permissions.' },
  NODE_TOO_OLD: { exit: 6, title: 'This Node.js is too old', next: 'Install Node.js 24 or newer.' },
  TEST_FAILED: {
    exit: 7,
    title: 'A policy decides otherwise than its tests say',
    next: 'Correct the rules, or the cases; postern policy explain shows why.',
  },

  LOGIN_REQUIRED: {
    exit: 10,
    status: 401,
    title: 'No credential was presented',
    next: 'Sign in: postern access login HOSTNAME. A machine gives --id and --secret-file of a service token.',
  },
  AUTH_REJECTED: {
    exit: 11,
    status: 401,
    title: 'The credential was not accepted',
    next: 'Check the credential, or ask the application’s administrator for a new one.',
  },
  TOKEN_EXPIRED: {
    exit: 12,
    status: 401,
    title: 'The credential has expired',
    next: 'Ask the application’s administrator for a new one.',
  },
  TOKEN_REVOKED: {
    exit: 13,
    status: 401,
    title: 'The credential was revoked',
    next: 'Ask the application’s administrator why, and for a new one.',
  },
  ACCESS_DENIED: {
    exit: 14,
    status: 403,
    title: 'The policy does not let you in',
    next: 'Ask the application’s administrator, with the request id.',
  },
  CERTIFICATE_EXPIRED: {
    exit: 16,
    status: 403,
    title: 'The client certificate is not valid now',
    next: 'Renew it: postern cert renew. Or ask whoever issued it for a new one.',
  },
  CERTIFICATE_REVOKED: {
    exit: 17,
    status: 403,
    title: 'The client certificate was revoked',
    next: 'Ask the application’s administrator why, and for a new one.',
  },
  CERTIFICATE_REJECTED: {
    exit: 18,
    status: 403,
    title: 'The client certificate was not accepted',
    next: 'Use one that is made for clients, or ask the application’s administrator.',
  },
  RATE_LIMITED: { exit: 15, status: 429, title: 'Too many attempts', next: 'Wait a minute, then try again.' },

  NOT_FOUND: {
    exit: 20,
    status: 404,
    title: 'No such application',
    next: 'Check the hostname. If it is right, ask the application’s administrator whether you may use it.',
  },
  EDGE_UNREACHABLE: {
    exit: 21,
    title: 'The edge cannot be reached',
    next: 'Check the hostname, your network, and that the edge is running.',
  },
  EDGE_UNTRUSTED: {
    exit: 22,
    title: 'The edge’s certificate is not trusted',
    next: 'Give its CA with --ca FILE, if it is your own edge.',
  },
  EDGE_PROTOCOL: {
    exit: 23,
    title: 'What answered is not a Postern edge',
    next: 'Check the hostname and port, and any proxy between.',
  },
  EDGE_UNAVAILABLE: { exit: 24, status: 503, title: 'The edge cannot take this now', next: 'Try again shortly.' },
  AUDIT_UNAVAILABLE: {
    exit: 24,
    status: 503,
    title: 'The edge cannot write its audit log, so it admits nobody',
    next: 'Tell the edge’s administrator.',
  },
  VERSION_UNSUPPORTED: {
    exit: 25,
    status: 426,
    title: 'The two ends speak no common version',
    next: 'Update the older of the two.',
  },
  REQUEST_TOO_LARGE: {
    exit: 26,
    status: 431,
    title: 'The request is larger than the edge takes',
    next: 'Send fewer or shorter headers.',
  },
  MISDIRECTED_REQUEST: {
    exit: 27,
    status: 421,
    title: 'The request came over a connection that was not made for its hostname',
    next: 'Connect again, naming the hostname in the TLS handshake (SNI).',
  },
  DAEMON_UNTRUSTED: {
    exit: 28,
    title: 'The tunnel does not vouch for the daemon at the other end',
    next: 'Log the daemon in again (posternd login). If it was, the edge or somebody at it is in the way: tell its administrator.',
  },
  MODE_FORBIDDEN: {
    exit: 29,
    status: 403,
    title: 'The connection would be end-to-end, or not, against what was asked for',
    next: 'Look at mode in the daemon’s ingress rule, at --end-to-end, and at the pin: postern access pin --hostname HOST.',
  },

  TUNNEL_OFFLINE: {
    exit: 30,
    status: 503,
    title: 'No daemon of the application’s tunnel is connected',
    next: 'Start posternd beside the service, or see why it cannot connect.',
  },
  INGRESS_NOT_FOUND: {
    exit: 31,
    status: 502,
    title: 'The daemon serves no such hostname',
    next: 'Add an ingress rule for it on the daemon.',
  },
  ORIGIN_REFUSED: {
    exit: 32,
    status: 502,
    title: 'The service refused the connection',
    next: 'Start the service, or correct its address in the ingress rule.',
  },
  ORIGIN_NOT_RESOLVED: {
    exit: 33,
    status: 502,
    title: 'The service’s name does not resolve on the daemon’s host',
    next: 'Correct the name in the ingress rule, or the daemon’s DNS.',
  },
  ORIGIN_TIMEOUT: {
    exit: 34,
    status: 504,
    title: 'The service did not answer in time',
    next: 'Check the service, and any firewall beside it.',
  },
  ORIGIN_UNREACHABLE: {
    exit: 35,
    status: 502,
    title: 'The service cannot be reached from the daemon’s host',
    next: 'Check the network between the daemon and the service.',
  },
  DESTINATION_FORBIDDEN: {
    exit: 36,
    status: 403,
    title: 'The daemon reaches its ingress rules’ services and nothing else',
    next: 'Add an ingress rule for the service on the daemon.',
  },
  ORIGIN_UNTRUSTED: {
    exit: 37,
    status: 502,
    title: 'The service’s certificate is not trusted, or it speaks no TLS',
    next: 'Give caFile or serverName in the ingress rule’s options, or correct the service’s scheme.',
  },
  ORIGIN_FAILED: {
    exit: 38,
    status: 502,
    title: 'The service gave no answer that can be used',
    next: 'Look at the service’s own log; whether it did what was asked is not known.',
  },
  TUNNEL_KEY_CHANGED: {
    exit: 39,
    title: 'The tunnel’s key is not the one that was pinned',
    next: 'Ask the tunnel’s administrator for its fingerprint; where it is the new one, set it with postern access pin.',
  },

  STREAM_CUT: {
    exit: 40,
    title: 'The connection was cut',
    next: 'What was received may be incomplete; connect again.',
  },
  SESSION_LOST: {
    exit: 41,
    title: 'The connection to the edge was lost',
    next: 'What was received may be incomplete; connect again.',
  },
  ACCESS_ENDED: {
    exit: 42,
    status: 403,
    title: 'Access ended while the connection was open',
    next: 'Get a valid credential, then connect again.',
  },
  PEER_SILENT: { exit: 43, title: 'The other end stopped answering', next: 'Check the network, then connect again.' },
  PROTOCOL_VIOLATION: {
    exit: 44,
    status: 400,
    title: 'The other end broke the protocol',
    next: 'Update both ends; if it stays, report it.',
  },
  LIMIT_EXCEEDED: {
    exit: 45,
    status: 429,
    title: 'A limit on connections was reached',
    next: 'Close some connections, then try again.',
  },
  DRAINING: {
    exit: 46,
    status: 503,
    title: 'The other end is shutting down',
    next: 'Connect again; another one will take it.',
  },
  TIMED_OUT: {
    exit: 47,
    status: 504,
    title: 'A step took longer than its deadline',
    next: 'Try again; if it stays, check the network.',
  },
  CONNECTOR_EVICTED: {
    exit: 48,
    status: 403,
    title: 'The daemon was put out of its tunnel',
    next: 'Ask the tunnel’s administrator why before you start it again.',
  },
  TICKET_RACED: {
    exit: 49,
    title: 'Somebody used a connection’s ticket before its owner did',
    next: 'Connect again. Somebody between you and the edge may be watching: --transport websocket shows them no ticket.',
  },

  PLUGIN_INTEGRITY: {
    exit: 50,
    title: 'A plugin is not what was added',
    next: 'Find out who changed it. Then add it again: postern plugins add NAME@VERSION.',
  },
  PLUGIN_INSTALL: {
    exit: 51,
    title: 'A plugin cannot be installed',
    next: 'Correct what npm says; what was there before is unchanged.',
  },
  PLUGIN_UNSAFE: {
    exit: 52,
    title: 'A package holds what no plugin may',
    next: 'Do not use it; tell the plugin’s author.',
  },

  PLUGIN_NOT_FOUND: {
    exit: 60,
    title: 'A plugin is not installed',
    next: 'Add the package (postern plugins add NAME@VERSION), or correct its name or path.',
  },
  PLUGIN_MANIFEST: {
    exit: 61,
    title: 'A package has no valid Postern manifest',
    next: 'Tell the plugin’s author; "postern" in its package.json is described in docs/plugins.',
  },
  PLUGIN_API: { exit: 62, title: 'A plugin was made for another plugin API', next: 'Update the plugin, or Postern.' },
  PLUGIN_SIDE: {
    exit: 63,
    title: 'A plugin has no part for this side',
    next: 'Use a plugin that does, or use this one where it runs.',
  },
  PLUGIN_LOAD: { exit: 64, title: 'A plugin cannot be loaded', next: 'Reinstall it; the cause is below.' },
  PLUGIN_SHAPE: { exit: 65, title: 'A plugin is not what its manifest says', next: 'Tell the plugin’s author.' },
  PLUGIN_OPTIONS: { exit: 66, title: 'A plugin declares options that cannot be', next: 'Tell the plugin’s author.' },
  PLUGIN_CREATE: { exit: 67, title: 'A plugin could not start', next: 'Check its options; the cause is below.' },
  PLUGIN_CONFLICT: {
    exit: 68,
    title: 'Two plugins claim the same name',
    next: 'Leave one out, or allow the override explicitly.',
  },
  PLUGIN_FAILED: {
    exit: 69,
    status: 401,
    title: 'A plugin failed',
    next: 'Tell the plugin’s author; the name and the cause are in the log.',
  },

  STORE_UNUSABLE: {
    exit: 70,
    status: 503,
    title: 'The edge’s database cannot be used',
    next: 'Check the file, its permissions and the disk.',
  },
  STORE_NEWER: {
    exit: 71,
    title: 'The database was written by a newer Postern',
    next: 'Run the newer version, or restore a backup.',
  },
  ALREADY_EXISTS: {
    exit: 72,
    status: 409,
    title: 'That already exists',
    next: 'Use another name, or the one that is there.',
  },
  CONFLICT: {
    exit: 73,
    status: 409,
    title: 'That cannot be done as things are now',
    next: 'Look at what is there now, then try again.',
  },
} as const

/** The closed union of error codes. */
export type Code = keyof typeof CODES

/** The facts of a code, with the optional ones visible. */
export function factsOf(code: Code): CodeFacts {
  return CODES[code]
}

/** Whether a word from outside is one of our codes. */
export function isCode(word: unknown): word is Code {
  return typeof word === 'string' && Object.hasOwn(CODES, word)
}
