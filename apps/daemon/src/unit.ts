import { type Code, factsOf, PosternError } from '@postern/interface'
import { FATAL } from './connections.ts'

/** Beyond the grace period, in seconds, before systemd kills: what ending the cut streams may take. */
const STOP_MARGIN = 10

/**
 * A start cannot mend these, and each would be one more knock with the same bad credential. EDGE_UNTRUSTED is not among them:
 * whoever sits in between for an hour must not keep the service down for good.
 */
const NEVER_AGAIN: readonly Code[] = [...FATAL, 'CONFIG_INVALID', 'NODE_TOO_OLD']

/** A file that systemd reads as root and lends to the service, which may otherwise be unable to. */
export interface Credential {
  /** The service sees it under this name. */
  readonly name: string
  /** Absolute. */
  readonly path: string
  /** The variable that tells posternd where it is. */
  readonly variable: string
}

export interface UnitFacts {
  /** Absolute: Node itself, and the script. */
  readonly program: readonly [node: string, script: string]
  /** Its words behind the program, without secrets. */
  readonly words: readonly string[]
  readonly credentials: readonly Credential[]
  /** An existing user instead of one that systemd makes for each run. */
  readonly user?: string
  /** The service re-reads its config file on SIGHUP. */
  readonly reloads: boolean
  /** Milliseconds. */
  readonly grace: number
}

/**
 * A systemd unit (version 250 or newer) that runs `posternd` as nobody in particular, and lets it do little more than open
 * sockets. There is no secret in it: the token is a credential, which systemd hands over as a file.
 *
 * @throws PosternError OPTION_INVALID for what a unit file cannot say
 * @see https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html
 */
export function renderUnit(facts: UnitFacts): string {
  const { program, words, credentials, user, reloads, grace } = facts
  return `${[
    '[Unit]',
    'Description=posternd: private services through a Postern edge',
    'Wants=network-online.target',
    'After=network-online.target',
    'StartLimitIntervalSec=0',
    '',
    '[Service]',
    'Type=exec',
    `ExecStart=${[programPath(program[0]), ...[program[1], ...words].map(quoted)].join(' ')}`,
    ...(reloads ? ['ExecReload=/bin/kill -HUP $MAINPID'] : []),
    ...credentials.map(({ name, path }) => `LoadCredential=${name}:${plainPath(path)}`),
    ...credentials.map(({ name, variable }) => `Environment=${variable}=%d/${name}`),
    ...(user === undefined ? ['DynamicUser=yes'] : [`User=${userName(user)}`]),
    // What the edge tells it later: credentials are lent, and cannot be written.
    'StateDirectory=posternd',
    'StateDirectoryMode=0700',
    'Restart=on-failure',
    'RestartSec=5',
    `RestartPreventExitStatus=${exitsOf(NEVER_AGAIN)}`,
    'KillSignal=SIGTERM',
    `TimeoutStopSec=${Math.ceil(grace / 1000) + STOP_MARGIN}`,
    '',
    ...CONFINED,
    '',
    '[Install]',
    'WantedBy=multi-user.target',
  ].join('\n')}\n`
}

const CONFINED = [
  'UMask=0077',
  'NoNewPrivileges=yes',
  'CapabilityBoundingSet=',
  'AmbientCapabilities=',
  'ProtectSystem=strict',
  'ProtectHome=yes',
  'ProtectProc=invisible',
  'ProtectClock=yes',
  'ProtectHostname=yes',
  'ProtectControlGroups=yes',
  'ProtectKernelLogs=yes',
  'ProtectKernelModules=yes',
  'ProtectKernelTunables=yes',
  'PrivateTmp=yes',
  'PrivateDevices=yes',
  'RemoveIPC=yes',
  'LockPersonality=yes',
  'RestrictNamespaces=yes',
  'RestrictRealtime=yes',
  'RestrictSUIDSGID=yes',
  'RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX',
  'SystemCallArchitectures=native',
  'SystemCallFilter=@system-service @pkey',
  'SystemCallFilter=~@privileged @resources',
  'SystemCallErrorNumber=EPERM',
  '# Not MemoryDenyWriteExecute=: V8 compiles JavaScript while it runs, and would end at once.',
]

function exitsOf(codes: readonly Code[]): string {
  const kept = codes.filter(code => code !== 'EDGE_UNTRUSTED')
  return [...new Set(kept.map(code => factsOf(code).exit))].sort((a, b) => a - b).join(' ')
}

/**
 * A word of a command line, by the rules of systemd.service(5), “Command lines”: `%` and `$` stand for something else unless
 * they are doubled, and quotes keep the rest together.
 */
export function quoted(word: string): string {
  refuseUnwritable(word)
  const escaped = word.replaceAll('%', '%%').replaceAll('$', '$$$$')
  return /^[\w./:@=,+%$[\]-]+$/.test(escaped) ? escaped : `"${escaped.replace(/["\\]/g, '\\$&')}"`
}

/** systemd starts no program with quotes or a backslash in its path, and searches it for no variables, so no `$` can be doubled. */
function programPath(path: string): string {
  if (/["'\\$]/.test(path)) throw unwritable(path)
  return quoted(path)
}

/** A setting that is taken as it stands, to the end of the line, but for specifiers. */
function plainPath(path: string): string {
  refuseUnwritable(path)
  if (/^\s|\s$|\\$/.test(path) || !path.startsWith('/')) throw unwritable(path)
  return path.replaceAll('%', '%%')
}

/** @throws PosternError OPTION_INVALID */
function userName(name: string): string {
  if (!/^[a-z_][a-z0-9_-]{0,31}$/.test(name) || ['root', 'nobody'].includes(name))
    throw new PosternError(
      'OPTION_INVALID',
      `--user: ${JSON.stringify(name.slice(0, 64))} is not an ordinary user’s name`,
    )
  return name
}

function refuseUnwritable(text: string): void {
  if (text === '' || /[\p{Cc}\u2028\u2029]/u.test(text)) throw unwritable(text)
}

function unwritable(text: string): PosternError {
  return new PosternError('OPTION_INVALID', `${JSON.stringify(text.slice(0, 200))} cannot stand in a unit file`, {
    next: 'Use an absolute path without line ends, and without quotes, dollar signs or backslashes where a program is.',
  })
}
