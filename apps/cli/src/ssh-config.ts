import { sep } from 'node:path'
import { readHostname } from '@postern/client/hostname'
import { PosternError } from '@postern/interface'

export interface SshConfig {
  /** The application, for example `ssh.example.com`; with the edge's port where it is not 443. */
  readonly hostname: string
  /** The command that runs `postern`, for example `['postern']`. */
  readonly program: readonly string[]
  /** Further arguments of `access ssh`, for example `['--id', 'pst_…', '--secret-file', '/home/me/token']`. */
  readonly args: readonly string[]
  /** Where `access ssh-gen`, with these arguments, puts a key and its certificate. */
  readonly certificate?: {
    readonly args: readonly string[]
    readonly keyFile: string
    readonly certificateFile: string
  }
}

/**
 * The stanza for a hostname. ssh hands a ProxyCommand to a shell, so every word is checked and quoted here; the hostname is
 * written out instead of `%h`, so that nothing typed later gets into that shell.
 *
 * @throws PosternError HOSTNAME_INVALID; OPTION_INVALID for a word that no shell can carry (a line end, NUL)
 */
export function sshConfig({ hostname, program, args, certificate }: SshConfig): string {
  const host = readHostname(hostname)
  const target = host.port === undefined ? host.hostname : `${host.hostname}:${host.port}`
  const words = [...program, 'access', 'ssh', '--hostname', target, ...args]
  const lines = [`Host ${host.hostname}`, `  ProxyCommand ${words.map(quoted).join(' ')}`]
  if (certificate !== undefined) {
    // A block of its own: where no certificate is to be had, ssh still goes through Postern, with the keys it has.
    const gen = [...program, 'access', 'ssh-gen', '--hostname', target, ...certificate.args].map(quotedInMatch)
    lines.push(`Match host ${host.hostname} exec "${gen.join(' ')}"`)
    lines.push(`  IdentityFile ${quotedPath(certificate.keyFile)}`)
    lines.push(`  CertificateFile ${quotedPath(certificate.certificateFile)}`)
  }
  return `${lines.join('\n')}\n`
}

/**
 * For a shell inside `Match … exec "…"`. Older versions of ssh end that at the next `"` whatever stands before it, newer ones read
 * backslashes there: neither can be in it, and no quote inside the quotes that the shell reads.
 */
function quotedInMatch(word: string): string {
  refuseControls(word)
  if (/["'\\]/.test(word))
    throw new PosternError('OPTION_INVALID', `ssh_config cannot carry ${JSON.stringify(word)} in a Match line`, {
      next: 'Give it in the config file of postern instead, or use a name without quotes and backslashes.',
    })
  const escaped = word.replaceAll('%', '%%')
  return /^[\w@%+=:,./-]+$/.test(word) ? escaped : `'${escaped}'`
}

/** For `IdentityFile`, where `%` and `${` introduce something; ssh takes `/` on Windows too. */
function quotedPath(path: string): string {
  refuseControls(path)
  const slashed = sep === '\\' ? path.replaceAll('\\', '/') : path
  if (/["'\\]|\$\{/.test(slashed))
    throw new PosternError('OPTION_INVALID', `ssh_config cannot carry the path ${JSON.stringify(path)}`, {
      next: 'Set POSTERN_HOME to a folder whose name has no quotes and backslashes in it.',
    })
  const escaped = slashed.replaceAll('%', '%%')
  return /\s|#/.test(escaped) ? `"${escaped}"` : escaped
}

function refuseControls(word: string): void {
  if (/[\u0000-\u001f\u007f]/.test(word))
    throw new PosternError('OPTION_INVALID', 'a word of the ssh_config stanza has a control character in it')
}

/**
 * For a POSIX shell, inside a line of ssh_config, where `%` introduces a token and quotes must pair off for ssh as well: it
 * takes `\'` for no quote even between quotes, so backslashes and quotes stand outside of them.
 */
function quoted(word: string): string {
  refuseControls(word)
  const escaped = word.replaceAll('%', '%%')
  return /^[\w@%+=:,./-]+$/.test(word) ? escaped : `'${escaped.replace(/['\\]/g, "'\\$&'")}'`
}
