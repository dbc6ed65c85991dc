import { execFileSync } from 'node:child_process'
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fakeClientHost, recordingLog } from '@postern/compliance'
import type { AuthRequest, Call, Credential, Options } from '@postern/interface'
import { beforeAll, describe, expect, it } from 'vitest'
import plugin from '../src/client.ts'
import { type Made, TestCa } from './authority.ts'

const call = (): Call => ({ signal: AbortSignal.timeout(20_000), log: recordingLog() })
const request: AuthRequest = { purpose: 'connector', teamDomain: 'team.example' }

let ca: TestCa
let ann: Made
beforeAll(async () => {
  ca = await TestCa.make()
  ann = await ca.issue()
})

const NONE = { cert: undefined, key: undefined, pfx: undefined, passphrase: undefined }

async function ask(given: Partial<Options<typeof plugin.options>>, answer?: string): Promise<Credential> {
  const host = fakeClientHost(answer === undefined ? undefined : () => answer)
  const ui = { ...host.ui, interactive: answer !== undefined }
  const provider = await plugin.create({ ...NONE, ...given }, { ...host, ui })
  return provider.authenticate(request, call())
}

/** What somebody else’s tool makes of Ann’s key. */
function openssl(name: string, ...words: string[]): string {
  const path = join(ca.folder, name)
  execFileSync('openssl', [...words, '-out', path], { stdio: 'ignore' })
  chmodSync(path, 0o600)
  return path
}

function isAnns({ tls }: Credential): void {
  expect(new X509Certificate(tls?.cert ?? '').fingerprint256).toBe(new X509Certificate(ann.cert).fingerprint256)
  expect(new X509Certificate(ann.cert).checkPrivateKey(createPrivateKey(tls?.key ?? ''))).toBe(true)
}

describe('a certificate and its key', () => {
  it('come from two files or from one, and end when the certificate does', async () => {
    const credential = await ask(ann.files)
    isAnns(credential)
    expect(credential.expiresAt).toBe(ann.issued.notAfter)
    isAnns(await ask({ cert: ca.write('both.pem', `${ann.key}${ann.cert}`) }))
    const both = await ask({ cert: ca.write('both.pem', `${ann.cert}${ann.key}`) })
    expect(both.tls?.cert).not.toContain('PRIVATE')
  })

  it('keep the certificates between it and its CA', async () => {
    const chain = ca.write('chain.pem', `${ann.cert}${ca.pair.cert}`)
    const { tls } = await ask({ ...ann.files, cert: chain })
    expect(tls?.cert.match(/BEGIN CERTIFICATE/g)).toHaveLength(2)
  })

  it.each([
    ['PKCS#8', ['pkcs8', '-topk8', '-v2', 'aes-256-cbc', '-passout', 'pass:open sesame', '-in']],
    ['of old', ['ec', '-aes128', '-passout', 'pass:open sesame', '-in']],
  ])('may be encrypted: %s', async (_, words) => {
    const key = openssl('encrypted.key', ...words, ann.files.key)
    isAnns(await ask({ ...ann.files, key, passphrase: 'open sesame' }))
    isAnns(await ask({ ...ann.files, key }, 'open sesame'))
    await expect(ask({ ...ann.files, key })).rejects.toMatchObject({
      code: 'OPTION_MISSING',
      message: expect.stringContaining('is encrypted'),
      next: expect.stringContaining('--passphrase-file'),
    })
    for (const tried of [ask({ ...ann.files, key, passphrase: 'other' }), ask({ ...ann.files, key }, 'other')])
      await expect(tried).rejects.toMatchObject({ code: 'OPTION_INVALID', message: expect.stringContaining('open') })
  })

  it.each([
    ['today’s', []],
    ['of old', ['-legacy']],
  ])('come from a PKCS#12 file with ciphers %s', async (_, more) => {
    const words = ['pkcs12', '-export', ...more, '-inkey', ann.files.key, '-in', ann.files.cert, '-passout']
    const pfx = openssl('ann.p12', ...words, 'pass:open sesame')
    isAnns(await ask({ pfx, passphrase: 'open sesame' }))
    isAnns(await ask({ pfx }, 'open sesame'))
    await expect(ask({ pfx })).rejects.toMatchObject({ code: 'OPTION_MISSING' })
    await expect(ask({ pfx, passphrase: 'other' })).rejects.toMatchObject({ code: 'OPTION_INVALID' })
    isAnns(await ask({ pfx: openssl('open.p12', ...words, 'pass:') }))
  })

  it('are read anew for each connection, and together', async () => {
    const files = { cert: ca.write('now.pem', ann.cert), key: ca.write('now.key', ann.key) }
    const provider = await plugin.create({ ...NONE, ...files }, fakeClientHost())
    isAnns(await provider.authenticate(request, call()))
    const bob = await ca.issue({ commonName: 'Bob' })
    ca.write('now.pem', bob.cert)
    // The key comes a moment later.
    const asked = provider.authenticate(request, call())
    setTimeout(() => ca.write('now.key', bob.key), 50)
    expect((await asked).tls?.cert).toContain(bob.cert.trim())
  })

  it('answer a refusal only with another certificate', async () => {
    const files = { cert: ca.write('then.pem', ann.cert), key: ca.write('then.key', ann.key) }
    const provider = await plugin.create({ ...NONE, ...files }, fakeClientHost())
    const credential = await provider.authenticate(request, call())
    const refused = { status: 401, headers: {}, credential }
    await expect(provider.authenticate({ ...request, refused }, call())).rejects.toMatchObject({
      code: 'AUTH_REJECTED',
    })
    const bob = await ca.issue({ commonName: 'Bob' })
    ca.write('then.pem', bob.cert)
    ca.write('then.key', bob.key)
    expect((await provider.authenticate({ ...request, refused }, call())).tls?.cert).toContain(bob.cert.trim())
  })
})

describe('what cannot be', () => {
  const invalid = (message: string | RegExp) => ({ code: 'OPTION_INVALID', message: expect.stringMatching(message) })

  it('is said before anything is dialled', async () => {
    const bob = await ca.issue()
    const nothing = ca.write('nothing.pem', 'nothing\n')
    await expect(ask({ ...ann.files, key: bob.files.key })).rejects.toMatchObject(invalid('is not the key of'))
    await expect(ask({ ...ann.files, cert: nothing })).rejects.toMatchObject(invalid('--cert: no certificate in PEM'))
    await expect(ask({ cert: ann.files.cert })).rejects.toMatchObject(invalid('--cert: no private key in PEM'))
    await expect(ask({ ...ann.files, key: nothing })).rejects.toMatchObject(invalid('--key: no private key in PEM'))
    await expect(ask({ ...ann.files, key: ca.write('long', 'x'.repeat(70_000)) })).rejects.toMatchObject(
      invalid('more than 65,536 bytes'),
    )
    await expect(ask({ ...ann.files, cert: join(ca.folder, 'none') })).rejects.toMatchObject({
      code: 'FILE_UNREADABLE',
    })
    await expect(ask({ pfx: ca.write('x.p12', 'no p12') })).rejects.toMatchObject({ code: 'FILE_UNREADABLE' })
  })

  it.each([
    [{}, 'OPTION_MISSING'],
    [{ key: '/k' }, 'OPTION_MISSING'],
    [{ cert: '/c', pfx: '/p' }, 'OPTION_CONFLICT'],
    [{ key: '/k', pfx: '/p' }, 'OPTION_CONFLICT'],
  ])('of options: %j', async (options, code) => {
    await expect(ask(options)).rejects.toMatchObject({ code })
  })

  it.skipIf(process.platform === 'win32')('row 118: a key that others may read', async () => {
    const open = join(ca.folder, 'open.key')
    writeFileSync(open, ann.key)
    chmodSync(open, 0o644)
    await expect(ask({ ...ann.files, key: open })).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
    const both = ca.write('both.pem', `${ann.cert}${ann.key}`)
    chmodSync(both, 0o640)
    await expect(ask({ cert: both })).rejects.toMatchObject({ code: 'FILE_UNSAFE' })
    chmodSync(open, 0o600)
    isAnns(await ask({ ...ann.files, key: open }))
  })
})
