// Run by authority-kill.test.ts: makes CAs and certificates as fast as it can, says what was acknowledged, until it is killed.
import { createCertificateRequest, makeKey } from '@postern/pki'
import { startEdge } from '../src/index.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }
const call = { signal: new AbortController().signal, log }
const edge = await startEdge({ data: process.argv[2] ?? '', listen: { port: 0 }, adminSocket: false }, call)
const csr = await createCertificateRequest(await makeKey())
const { administration } = edge
const round = process.pid.toString(36)
for (let n = 0; ; n += 1) {
  const name = `ca-${round}-${n}`
  const { id } = await administration.call('ca.create', { body: { name, days: 30 } })
  process.stdout.write(`ca ${id}\n`)
  const params = { ca: id }
  const { serial } = await administration.call('certificate.issue', { params, body: { csr, commonName: 'x' } })
  process.stdout.write(`issued ${id} ${serial}\n`)
  const [first] = (await administration.call('ca.rotate', { params, body: { days: 30 } })).certificates
  process.stdout.write(`rotated ${id}\n`)
  await administration.call('ca.retire', { params: { ...params, fingerprint: first?.fingerprint ?? '' } })
  process.stdout.write(`retired ${id}\n`)
  await administration.call('certificate.revoke', { params, body: { serial } })
  process.stdout.write(`revoked ${id} ${serial}\n`)
  if (n % 10 === 9) await administration.call('ca.delete', { params })
}
