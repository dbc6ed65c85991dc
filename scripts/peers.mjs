// The real programs that tests are run against, and the Debian package that brings each.
// One list: the bootstrap tells the tests which are there, `.ci/run` installs them all, a skipped test names its package.
import { accessSync, constants, existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/** @type {Record<string, { package: string, program?: string, path?: string }>} */
export const PEERS = {
  ssh: { package: 'openssh-client', program: 'ssh' },
  sshd: { package: 'openssh-server', program: 'sshd' },
  sftp: { package: 'openssh-client', program: 'sftp' },
  git: { package: 'git', program: 'git' },
  rsync: { package: 'rsync', program: 'rsync' },
  curl: { package: 'curl', program: 'curl' },
  Xvfb: { package: 'xvfb', program: 'Xvfb' },
  xauth: { package: 'xauth', program: 'xauth' },
  xdpyinfo: { package: 'x11-utils', program: 'xdpyinfo' },
  'systemd-analyze': { package: 'systemd', program: 'systemd-analyze' },
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
  return peer.path ? existsSync(peer.path) : find(peer.program) !== undefined
}

function runnable(file) {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}
