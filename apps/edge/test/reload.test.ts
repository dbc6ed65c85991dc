import { spawn } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, type TLSSocket } from 'node:tls'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { certificatesOfFiles } from '../src/front/certificates.ts'
import { type DevCa, openDevCa } from '../src/front/devca.ts'
import { CertificateReload } from '../src/front/reload.ts'
import { initialiseEdge, type RunningEdge, startEdge } from '../src/index.ts'
import { parseAnswer, readAll } from './visitor.ts'
import { call } from './world.ts'

const said: string[] = []
const say = (message: string, fields?: object): void => void said.push(`${message} ${JSON.stringify(fields)}`)
const log = { debug() {}, info: say, warn: say, error: say }

let folder: string
let ca: DevCa
let files: { cert: string; key: string }
beforeEach(async () => {
  said.length = 0
  folder = await mkdtemp(join(tmpdir(), 'postern-reload-'))
  const wanted = { data: folder, hostname: 'db.localhost', tunnel: 'home', teamDomain: 'edge.localhost' }
  await initialiseEdge(wanted, call)
  ca = await openDevCa(join(folder, 'ca'))
  files = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') }
  await renew()
})
afterEach(() => rm(folder, { recursive: true }))

/** @returns the serial number of the certificate that is in the files now */
async function renew(): Promise<string> {
  const { cert, key } = await ca.issue('db.localhost')
  await writeFile(files.cert, cert)
  await writeFile(files.key, key, { mode: 0o600 })
  return new X509Certificate(cert).serialNumber
}

async function dial(edge: RunningEdge): Promise<TLSSocket> {
  const socket = connect({
    port: edge.port,
    host: '127.0.0.1',
    servername: 'db.localhost',
    ca: readFileSync(ca.file),
    ALPNProtocols: ['http/1.1'],
  })
  await once(socket, 'secureConnect')
  return socket
}

async function status(
  socket: TLSSocket,
  request = 'GET / HTTP/1.1\r\nHost: db.localhost\r\nConnection: close\r\n\r\n',
): Promise<number> {
  const all = readAll(socket)
  socket.write(request)
  return parseAnswer(await all).status
}

const serialOf = (socket: TLSSocket) => socket.getPeerX509Certificate()?.serialNumber

describe('own certificate files, renewed while the edge serves', () => {
  test('who comes next gets the new one; who is there goes on; nobody is turned away', async () => {
    const first = await renew()
    await using edge = await startEdge({ data: folder, listen: { port: 0 }, tls: files, grace: 500 }, { ...call, log })
    const there = await dial(edge)
    there.write('GET / HTTP/1.1\r\n')
    expect(serialOf(there)).toBe(first)
    await edge.reloadCertificates()
    expect(said.filter(line => line.includes('in use'))).toEqual([])

    let stop = false
    const answers: number[] = []
    const serials = new Set<string | undefined>()
    const visitors = Array.from({ length: 4 }, async () => {
      while (!stop) {
        const socket = await dial(edge)
        serials.add(serialOf(socket))
        answers.push(await status(socket))
      }
    })
    const wanted = [first]
    for (let n = 0; n < 5; n += 1) {
      const seen = answers.length
      await expect.poll(() => answers.length, { timeout: 10_000 }).toBeGreaterThan(seen + 4)
      wanted.push(await renew())
      await edge.reloadCertificates()
    }
    const seen = answers.length
    await expect.poll(() => answers.length, { timeout: 10_000 }).toBeGreaterThan(seen + 8)
    stop = true
    await Promise.all(visitors)
    expect(new Set(answers)).toEqual(new Set([401]))
    expect(new Set(wanted).size).toBe(6)
    for (const serial of serials) expect(wanted).toContain(serial)
    expect(serials).toContain(wanted.at(-1))
    expect(await status(there, 'Host: db.localhost\r\nConnection: close\r\n\r\n')).toBe(401)
  })

  test('what is no pair is refused whole, said once, and taken when it is mended', async () => {
    const first = await renew()
    await using edge = await startEdge({ data: folder, listen: { port: 0 }, tls: files, grace: 500 }, { ...call, log })
    const key = readFileSync(files.key, 'utf8')
    await writeFile(files.key, readFileSync(join(folder, 'ca', 'ca-key.pem')), { mode: 0o600 })
    await edge.reloadCertificates()
    await edge.reloadCertificates()
    await writeFile(files.key, '', { mode: 0o600 })
    await edge.reloadCertificates()
    await writeFile(files.key, key, { mode: 0o600 })
    await rm(files.cert)
    await edge.reloadCertificates()
    expect(said.filter(line => line.includes('serves on'))).toHaveLength(3)
    expect(said.join()).not.toContain('PRIVATE')
    expect(said.join()).not.toContain(key.slice(100, 140))
    const socket = await dial(edge)
    expect(serialOf(socket)).toBe(first)
    expect(await status(socket)).toBe(401)
    const next = await renew()
    await edge.reloadCertificates()
    const renewed = await dial(edge)
    expect(serialOf(renewed)).toBe(next)
    renewed.destroy()
  })

  test('a hangup has them read, and does not stop the program', { timeout: 60_000 }, async () => {
    await renew()
    const bin = join(import.meta.dirname, '../bin/postern-edge.js')
    const argv = ['run', '--data', folder, '--listen', '127.0.0.1:0', '--cert', files.cert, '--key', files.key]
    const child = spawn(process.execPath, [bin, ...argv], { stdio: ['ignore', 'pipe', 'pipe'] })
    let text = ''
    child.stderr.on('data', chunk => {
      text += chunk
    })
    await once(child.stdout, 'data')
    await renew()
    child.kill('SIGHUP')
    await expect.poll(() => text, { timeout: 20_000 }).toContain('read again')
    child.kill('SIGTERM')
    const [code] = await once(child, 'exit')
    expect(code).toBe(0)
  })

  test('nobody need tell: the files are looked at from time to time', async () => {
    const { read } = await certificatesOfFiles(files, call)
    const used: unknown[] = []
    if (read === undefined) throw new Error('files can be read again')
    using _reload = new CertificateReload({ read, use: server => used.push(server.cert), log, interval: 20 })
    await renew()
    await expect.poll(() => used, { timeout: 10_000 }).toEqual([readFileSync(files.cert, 'utf8')])
  })
})
