import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  createAuthority,
  createCertificateRequest,
  issueCertificate,
  makeKey,
  readCertificateRequest,
} from '@postern/pki'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { belong, createFiles, mustBeNew, type Pair, readFiles, replaceFiles } from '../src/cert/files.ts'

let one: Pair
let two: Pair
beforeAll(async () => {
  const ca = await createAuthority({ commonName: 'CA', days: 1 })
  const pair = async () => {
    const key = await makeKey()
    const { publicKey } = await readCertificateRequest(await createCertificateRequest(key))
    const { cert } = await issueCertificate(ca, { publicKey, commonName: 'x', san: [], seconds: 3600, usage: 'client' })
    return { cert, key }
  }
  one = await pair()
  two = await pair()
})

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postern-cert-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const at = (name: string) => join(folder, name)
const single = () => ({ cert: at('both.pem'), key: at('both.pem') })
const double = () => ({ cert: at('me.pem'), key: at('me.key') })
const trimmed = ({ cert, key }: Pair) => ({ cert: cert.trim(), key: key.trim() })

describe.each([
  ['one file', single],
  ['two files', double],
])('a certificate and its key in %s', (_what, places) => {
  it('are written for this user alone, and read as they were', async () => {
    await createFiles(places(), one)
    expect(trimmed(await readFiles(places()))).toEqual(trimmed(one))
    for (const name of readdirSync(folder)) expect(statSync(at(name)).mode & 0o777).toBe(0o600)
    expect(readdirSync(folder)).toHaveLength(new Set(Object.values(places())).size)
  })

  it('take no file’s place, nor follow a link', async () => {
    const { key } = places()
    writeFileSync(key, 'somebody’s only key', { mode: 0o600 })
    await expect(mustBeNew(places())).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    await expect(createFiles(places(), one)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    expect(readFileSync(key, 'utf8')).toBe('somebody’s only key')
    rmSync(key)
    symlinkSync(at('elsewhere'), key)
    await expect(createFiles(places(), one)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    expect(readdirSync(folder)).toEqual([key.slice(folder.length + 1)])
  })

  it('are replaced together, where a link stays a link', async () => {
    mkdirSync(at('real'))
    const real = { cert: at('real/a'), key: places().cert === places().key ? at('real/a') : at('real/b') }
    await createFiles(real, one)
    for (const kind of ['cert', 'key'] as const)
      if (!readdirSync(folder).includes(places()[kind].slice(folder.length + 1)))
        symlinkSync(real[kind], places()[kind])
    await replaceFiles(places(), two)
    expect(trimmed(await readFiles(real))).toEqual(trimmed(two))
    expect(readdirSync(at('real'))).toHaveLength(new Set(Object.values(real)).size)
  })

  it('row 118: are not read where others can', async () => {
    await createFiles(places(), one)
    for (const mode of [0o644, 0o640, 0o666]) {
      chmodSync(places().key, mode)
      await expect(readFiles(places())).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
    }
    chmodSync(places().key, 0o600)
    await readFiles(places())
  })
})

describe('row 156: a renewal that was killed', () => {
  it('before anything was in place leaves the old pair', async () => {
    await createFiles(double(), one)
    writeFileSync(at('me.key.0123456789ab'), 'half a fi', { mode: 0o600 })
    expect(trimmed(await readFiles(double()))).toEqual(trimmed(one))
  })

  it.each(['neither', 'the key'])('when %s was in place is finished by the next one', async placed => {
    await createFiles(double(), one)
    writeFileSync(at('me.key.next'), `${two.cert}${two.key}`, { mode: 0o600 })
    if (placed === 'the key') writeFileSync(at('me.key'), two.key)
    expect(trimmed(await readFiles(double()))).toEqual(trimmed(two))
    expect(readdirSync(folder).sort()).toEqual(['me.key', 'me.pem'])
  })
})

describe('row 119: where others can make files too, what waits to take their place', () => {
  beforeEach(() => createFiles(double(), one))

  it('is not read through a link', async () => {
    writeFileSync(at('mine.pem'), `${two.cert}${two.key}`, { mode: 0o600 })
    symlinkSync(at('mine.pem'), at('me.key.next'))
    await expect(readFiles(double())).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
    rmSync(at('me.key.next'))
    expect(trimmed(await readFiles(double()))).toEqual(trimmed(one))
  })

  it('is not written through one', async () => {
    writeFileSync(at('mine'), 'a file of mine', { mode: 0o600 })
    symlinkSync(at('mine'), at('me.key.next'))
    await replaceFiles(double(), two)
    expect(readFileSync(at('mine'), 'utf8')).toBe('a file of mine')
    expect(trimmed(await readFiles(double()))).toEqual(trimmed(two))
  })

  it.each([
    ['another key alone', () => two.key],
    ['two that do not belong together', () => `${one.cert}${two.key}`],
    ['nothing', () => ''],
  ])('is nothing that a renewal left: %s', async (_what, text) => {
    writeFileSync(at('me.key.next'), text(), { mode: 0o600 })
    await expect(readFiles(double())).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
    rmSync(at('me.key.next'))
    expect(trimmed(await readFiles(double()))).toEqual(trimmed(one))
  })
})

it('a certificate and a key that do not belong together are told apart, and so is what is neither', async () => {
  expect(belong(one)).toBe(true)
  expect(belong({ cert: one.cert, key: two.key })).toBe(false)
  writeFileSync(at('me.pem'), one.cert)
  writeFileSync(at('me.key'), two.key, { mode: 0o600 })
  await expect(readFiles(double())).rejects.toMatchObject({
    code: 'OPTION_INVALID',
    message: expect.stringContaining('not the key'),
  })
  writeFileSync(at('me.key'), 'nothing')
  await expect(readFiles(double())).rejects.toMatchObject({ code: 'OPTION_INVALID' })
  writeFileSync(at('me.pem'), '')
  await expect(readFiles({ cert: at('me.pem'), key: at('none') })).rejects.toMatchObject({ code: 'FILE_UNREADABLE' })
  await expect(readFiles({ cert: folder, key: folder })).rejects.toMatchObject({
    code: expect.stringMatching(/^FILE_/),
  })
})
