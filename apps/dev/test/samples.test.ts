import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { leftOpen, resources } from '@postern/testkit'
import { describe, expect, it } from 'vitest'
import { startSampleEcho } from '../src/samples.ts'
import { makeSshKeys } from '../src/ssh-keys.ts'
import { startSsh2Server } from '../src/ssh2-server.ts'
import { findSshd, startSshd } from '../src/sshd.ts'

const run = promisify(execFile)
const peers = (process.env.POSTERN_PEERS ?? '').split(' ')

describe.skipIf(!peers.includes('ssh'))(
  'the sample SSH servers, by a real ssh (needs: apt-get install openssh-client)',
  () => {
    const ssh = async (port: number, folder: string, key: string, hostKey: string, command: string) => {
      writeFileSync(join(folder, 'known_hosts'), `[127.0.0.1]:${port} ${hostKey}\n`)
      const options = [
        'BatchMode=yes',
        'StrictHostKeyChecking=yes',
        `UserKnownHostsFile=${join(folder, 'known_hosts')}`,
        'IdentitiesOnly=yes',
        `IdentityFile=${key}`,
      ]
      const args = [
        ...options.flatMap(option => ['-o', option]),
        '-F',
        'none',
        '-p',
        String(port),
        `${userInfo().username}@127.0.0.1`,
        command,
      ]
      return run('ssh', args, { timeout: 20_000 }).then(
        ({ stdout }) => ({ code: 0, stdout }),
        error => ({ code: error.code, stdout: error.stdout }),
      )
    }

    const servers = [
      ['in this process', () => undefined],
      ...(peers.includes('sshd') ? [['of OpenSSH', findSshd] as const] : []),
    ] as const

    it.each(servers)('the one %s runs a command for its one key, and nobody else’s', async (_name, find) => {
      const folder = mkdtempSync(join(tmpdir(), 'postern-samples-'))
      try {
        const keys = makeSshKeys(join(folder, 'keys'))
        const others = makeSshKeys(join(folder, 'others'))
        const program = find()
        await using server = await (program ? startSshd(program, folder, keys) : startSsh2Server(keys))
        expect(await ssh(server.port, folder, keys.userKeyFile, keys.hostPublicKey, 'echo out; exit 5')).toEqual({
          code: 5,
          stdout: 'out\n',
        })
        expect((await ssh(server.port, folder, others.userKeyFile, keys.hostPublicKey, 'true')).code).toBe(255)
      } finally {
        rmSync(folder, { recursive: true, force: true })
      }
    })
  },
)

it('the sample echo speaks after the other side has finished, and leaves nothing open', async () => {
  const before = resources()
  {
    await using echo = await startSampleEcho()
    const socket = connect({ port: echo.port, host: '127.0.0.1', allowHalfOpen: true }, () => socket.end('abc'))
    let text = ''
    for await (const chunk of socket) text += chunk
    expect(text).toMatch(/^abc\n\(that were 3 bytes/)
    connect(echo.port, '127.0.0.1').on('error', () => {}) // somebody who never leaves
  }
  expect(await leftOpen(before)).toEqual([])
})
