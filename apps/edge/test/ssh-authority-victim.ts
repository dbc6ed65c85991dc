// Run by ssh-authority-kill.test.ts: makes SSH authorities and certificates as fast as it can, says what was given, until it is killed.
import { createSshKey, publicKeyOf } from '@postern/pki/ssh/key'
import { startEdge } from '../src/index.ts'
import { askOwnPath } from './own-path.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }
const call = { signal: new AbortController().signal, log }
const edge = await startEdge({ data: process.argv[2] ?? '', listen: { port: 0 }, adminSocket: false }, call)
const { administration } = edge
const name = `n${process.pid.toString(36)}`
const { id, secret } = await administration.call('service-token.create', { body: { name } })
const headers = { 'postern-client-id': id, 'postern-client-secret': secret }
const publicKey = publicKeyOf(await createSshKey('test'))
const rule = {
  name: 'machines',
  action: 'service' as const,
  include: [{ serviceToken: name }],
  permit: { ssh: { principals: ['deploy'] } },
}
for (let n = 0; ; n += 1) {
  const hostname = `${name}-${n}.localhost`
  const body = { hostname, tunnel: 'home', protocols: ['ssh'], rules: [rule] }
  await administration.call('application.create', { body } as never)
  const { text: line } = await askOwnPath(edge.port, hostname, 'ssh-ca.pub')
  process.stdout.write(`authority ${hostname} ${line.trim()}\n`)
  for (let more = 0; more < 3; more += 1) {
    const { text } = await askOwnPath(edge.port, hostname, 'ssh-certificate', { headers, body: { publicKey } })
    process.stdout.write(`certificate ${hostname} ${JSON.parse(text).certificate}\n`)
  }
  if (n % 10 === 9) await administration.call('application.delete', { params: { hostname } })
}
