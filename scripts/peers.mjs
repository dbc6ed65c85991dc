// The real programs that tests are run against, and the Debian package that brings each.
// One list: the bootstrap tells the tests which are there, `.ci/run` installs them all, a skipped test names its package.
import { accessSync, constants, existsSync, readdirSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/** @type {Record<string, { package: string, program?: string, path?: string, versions?: string }>} `versions`: a folder with one of each version, and the program below it */
export const PEERS = {
  ssh: { package: 'openssh-client', program: 'ssh' },
  sshd: { package: 'openssh-server', program: 'sshd' },
  sftp: { package: 'openssh-client', program: 'sftp' },
  git: { package: 'git', program: 'git' },
  rsync: { package: 'rsync', program: 'rsync' },
  curl: { package: 'curl', program: 'curl' },
  openssl: { package: 'openssl', program: 'openssl' },
  nginx: { package: 'nginx', program: 'nginx' },
  'nginx-stream': { package: 'libnginx-mod-stream', path: '/usr/lib/nginx/modules/ngx_stream_module.so' },
  haproxy: { package: 'haproxy', program: 'haproxy' },
  cc: { package: 'gcc', program: 'cc' },
  Xvfb: { package: 'xvfb', program: 'Xvfb' },
  script: { package: 'bsdutils', program: 'script' },
  xmessage: { package: 'x11-utils', program: 'xmessage' },
  xdotool: { package: 'xdotool', program: 'xdotool' },
  xrdp: { package: 'xrdp', program: 'xrdp' },
  xfreerdp: { package: 'freerdp2-x11', program: 'xfreerdp' },
  Xtigervnc: { package: 'tigervnc-standalone-server', program: 'Xtigervnc' },
  xauth: { package: 'xauth', program: 'xauth' },
  xdpyinfo: { package: 'x11-utils', program: 'xdpyinfo' },
  'systemd-analyze': { package: 'systemd', program: 'systemd-analyze' },
  postgres: { package: 'postgresql', versions: '/usr/lib/postgresql', program: 'bin/postgres' },
  psql: { package: 'postgresql-client', program: 'psql' },
  'redis-server': { package: 'redis-server', program: 'redis-server' },
  'redis-cli': { package: 'redis-tools', program: 'redis-cli' },
  wrk: { package: 'wrk', program: 'wrk' },
  chromium: { package: 'chromium', program: 'chromium' },
  'lemonldap-ng': {
    package: 'liblemonldap-ng-portal-perl',
    path: '/usr/share/perl5/Lemonldap/NG/Portal/Issuer/OpenIDConnect.pm',
  },
  'perl-string-random': { package: 'libstring-random-perl', path: '/usr/share/perl5/String/Random.pm' },
  'perl-io-string': { package: 'libio-string-perl', path: '/usr/share/perl5/IO/String.pm' },
  tcpdump: { package: 'tcpdump', program: 'tcpdump' },
  faketime: { package: 'faketime', program: 'faketime' },
  ip: { package: 'iproute2', program: 'ip' },
  tc: { package: 'iproute2', program: 'tc' },
  go: { package: 'golang-go', program: 'go' },
  'go-yamux': {
    package: 'golang-github-hashicorp-yamux-dev',
    path: '/usr/share/gocode/src/github.com/hashicorp/yamux',
  },
}

/** Where a program is, or undefined. sbin is searched too: sshd lives there, and a plain user's PATH leaves it out. */
export function find(program) {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin', '/sbin']
  return folders.map(folder => join(folder, program)).find(runnable)
}

export function presentPeers() {
  return Object.keys(PEERS).filter(name => isPresent(PEERS[name]))
}

function isPresent(peer) {
  if (peer.versions) return newest(peer.versions, peer.program) !== undefined
  return peer.path ? existsSync(peer.path) : find(peer.program) !== undefined
}

/** The program of the newest version that is there: Debian keeps PostgreSQL's server out of the PATH. */
export function newest(versions, program) {
  if (!existsSync(versions)) return undefined
  const numbers = readdirSync(versions).sort((a, b) => Number(b) - Number(a))
  return numbers.map(number => join(versions, number, program)).find(runnable)
}

function runnable(file) {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}
