import { readHostname } from '@postern/client/hostname'
import { PosternError } from '@postern/interface'

export interface SshConfig {
  /** The application, for example `ssh.example.com`; with the edge's port where it is not 443. */
  readonly hostname: string
  /** The command that runs `postern`, for example `['postern']`. */
  readonly program: readonly string[]
  /** Further arguments of `access ssh`, for example `['--id', 'pst_…', '--secret-file', '/home/me/token']`. */
  readonly args: readonly string[]
}

/**
 * The stanza for a hostname. ssh hands a ProxyCommand to a shell, so every word is checked and quoted here; the hostname is
 * written out instead of `%h`, so that nothing typed later gets into that shell.
 *
 * @throws PosternError HOSTNAME_INVALID; OPTION_INVALID for a word that no shell can carry (a line end, NUL)
 */
export function sshConfig({ hostname, program, args }: SshConfig): string {
  const host = readHostname(hostname)
  const target = host.port === undefined ? host.hostname : `${host.hostname}:${host.port}`
  const words = [...program, 'access', 'ssh', '--hostname', target, ...args]
  return `Host ${host.hostname}\n  ProxyCommand ${words.map(quoted).join(' ')}\n`
}

/**
 * For a POSIX shell, inside a line of ssh_config, where `%` introduces a token and quotes must pair off for ssh as well: it
 * takes `\'` for no quote even between quotes, so backslashes and quotes stand outside of them.
 */
function quoted(word: string): string {
  if (/[\u0000-\u001f\u007f]/.test(word))
    throw new PosternError('OPTION_INVALID', 'a word of the ProxyCommand has a control character in it')
  const escaped = word.replaceAll('%', '%%')
  return /^[\w@%+=:,./-]+$/.test(word) ? escaped : `'${escaped.replace(/['\\]/g, "'\\$&'")}'`
}
