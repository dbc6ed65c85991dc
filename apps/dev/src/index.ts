export { type Dev, type DevOptions, ECHO_HOST, SSH_HOST, startDev, TEAM_DOMAIN } from './dev.ts'
export { type SampleServer, startSampleEcho, startSampleSsh } from './samples.ts'
export { makeSshKeys, type SshKeys } from './ssh-keys.ts'
export { findSshd, freePort, startSshd } from './sshd.ts'
