import { execFileSync } from 'node:child_process'
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto'
import { copyFileSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Authority, Input } from '@postern/admin'
import { createAuthority, issueCertificate, makeKey, readCertificateRequest } from '@postern/pki'
import { openStore } from '@postern/store'
import { certificateRequest, elsewhere } from '@postern/testkit'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { authoritiesIn, certificateRuleOf } from '../src/certificates/authorities.ts'
import { type AuthorityRecord, authorityRow } from '../src/certificates/records.ts'
import { CertificateSweep } from '../src/certificates/sweep.ts'
import type { Administration } from '../src/index.ts'
import { Seal } from '../src/keys/seal.ts'
import { apiOf } from './admin-visitor.ts'
import { call, quiet, startWorld, type World } from './world.ts'

const DAY = 86_400_000
/** Skipped, by name, where the program is missing. */
const noOpenssl = !(process.env.POSTERN_PEERS ?? '').split(' ').includes('openssl')

let world: World
let administration: Administration
beforeEach(async () => {
  world = await startWorld({}, [], 0)
  administration = world.edge.administration
})
afterEach(() => world[Symbol.asyncDispose]())

const snapshot = () => world.edge.store.snapshot
const create = (name: string, more: object = {}) => administration.call('ca.create', { body: { name, ...more } })
const record = ({ id }: Pick<Authority, 'id'>) =>
  snapshot().records.get('mtls')?.get(authorityRow(id)) as unknown as AuthorityRecord
const rules = (...names: (string | undefined)[]) => [
  {
    name: 'r',
    action: 'allow' as const,
    include: names.map(ca => ({ certificate: ca === undefined ? { dns: 'ci.example.com' } : { ca } })),
  },
]
const ruled = (hostname: string, ...names: (string | undefined)[]) =>
  administration.call('policy.put', { params: { hostname }, body: { rules: rules(...names) } })
const issue = async (ca: string, body: Partial<Input<'certificate.issue'>['body']> = {}) =>
  administration.call('certificate.issue', {
    params: { ca },
    body: { csr: (await certificateRequest()).csr, commonName: 'ci', ...body },
  })
const failing = (promise: Promise<unknown>) =>
  promise.then(
    () => 'done',
    error => `${error.code}: ${error.message}`,
  )

describe('what an application wants of whoever connects', () => {
  test('nothing, where there is no CA, or no rule is about certificates', async () => {
    expect(certificateRuleOf(snapshot(), 'db.localhost')).toBeUndefined()
    const unknown = { code: 'BAD_USAGE', message: expect.stringContaining('no certificate authority "team"') }
    await expect(ruled('db.localhost', 'team')).rejects.toMatchObject(unknown)
    expect(certificateRuleOf(snapshot(), 'db.localhost')).toBeUndefined()
    await create('team')
    await ruled('db.localhost', 'team')
    expect(certificateRuleOf(snapshot(), 'db.localhost')?.authorities).toMatchObject([{ name: 'team' }])
    await administration.call('policy.put', { params: { hostname: 'db.localhost' }, body: { rules: [] } })
    expect(certificateRuleOf(snapshot(), 'db.localhost')).toBeUndefined()
  })

  test('the CAs that its rules name, in require, exclude and groups too; and all of them where a rule names none', async () => {
    for (const name of ['one', 'two', 'three', 'four']) await create(name)
    await administration.call('group.put', {
      params: { name: 'machines' },
      body: { selectors: [{ certificate: { ca: 'two' } }] },
    })
    const named = () => certificateRuleOf(snapshot(), 'db.localhost')?.authorities.map(({ name }) => name)
    const rule = {
      name: 'r',
      action: 'allow' as const,
      include: [{ inGroup: 'machines' }],
      require: [{ certificate: { ca: 'one' } }],
      exclude: [{ certificate: { ca: 'three', dns: 'x.example.com' } }],
    }
    await administration.call('policy.put', { params: { hostname: 'db.localhost' }, body: { rules: [rule] } })
    expect(named()).toEqual(['one', 'two', 'three'])
    await ruled('db.localhost', undefined)
    expect(named()).toEqual(['one', 'two', 'three', 'four'])
  })

  test('no CA that is for other applications', async () => {
    await create('here', { hostnames: ['db.localhost'] })
    await create('there', { hostnames: ['other.localhost'] })
    await ruled('db.localhost', undefined)
    expect(certificateRuleOf(snapshot(), 'db.localhost')?.authorities).toMatchObject([{ name: 'here' }])
    await ruled('db.localhost', 'there')
    expect(certificateRuleOf(snapshot(), 'db.localhost')).toBeUndefined()
  })

  test('the same key means the same CA certificates, whatever is issued meanwhile', async () => {
    await create('one')
    await ruled('db.localhost', 'one')
    const before = certificateRuleOf(snapshot(), 'db.localhost')
    await issue('one')
    await administration.call('ca.put', { params: { ca: 'one' }, body: { leafSeconds: 600 } })
    expect(certificateRuleOf(snapshot(), 'db.localhost')?.key).toBe(before?.key)
    await create('two')
    expect(certificateRuleOf(snapshot(), 'db.localhost')?.key).toBe(before?.key)
    await administration.call('ca.rotate', { params: { ca: 'one' }, body: {} })
    const after = certificateRuleOf(snapshot(), 'db.localhost')
    expect(after?.key).not.toBe(before?.key)
    expect(after?.certificates).toHaveLength(2)
  })

  test('what is issued does not have the CAs read again', async () => {
    await create('one')
    const before = authoritiesIn(snapshot())
    await issue('one')
    expect(authoritiesIn(snapshot())).toBe(before)
  })
})

describe('a CA that is made here', () => {
  test('is a CA for leaves only, and is shown without its key', async () => {
    const made = await create('team', { commonName: 'Our team', days: 30 })
    const [certificate] = made.certificates
    const x509 = new X509Certificate(certificate?.pem ?? '')
    expect(x509.ca).toBe(true)
    expect(x509.subject).toBe('CN=Our team')
    expect(certificate).toMatchObject({ issuing: true, keyType: 'ec' })
    expect(JSON.stringify(made)).not.toMatch(/PRIVATE|sealed|v1\./)
    expect((await create('old', { keyType: 'rsa' })).certificates).toMatchObject([{ keyType: 'rsa' }])
  })

  test.each([
    [{ name: 'Team' }, 'BAD_USAGE'],
    [{ name: 'a b' }, 'BAD_USAGE'],
    [{ name: '' }, 'BAD_USAGE'],
    [{ name: 'x', days: 0 }, 'BAD_USAGE'],
    [{ name: 'x', days: 36_500 }, 'BAD_USAGE'],
    [{ name: 'x', leafSeconds: 100 * 365 * 86_400 }, 'BAD_USAGE'],
    [{ name: 'x', leafSeconds: 60 }, 'BAD_USAGE'],
    [{ name: 'x', keyType: 'dsa' }, 'BAD_USAGE'],
    [{ name: 'x', commonName: 'a\u0000b' }, 'BAD_USAGE'],
    [{ name: 'x', hostnames: ['*.example.com'] }, 'HOSTNAME_INVALID'],
    [{ name: 'x', issuing: { fingerprint: 'f', sealedKey: 'k' } }, 'BAD_USAGE'],
    [{ name: 'x', certificates: 'pem' }, 'BAD_USAGE'],
    [{ name: 'x', rules: [{ name: 'r', action: 'bypass', include: [{ path: ['/'] }] }] }, 'BAD_USAGE'],
    [{ name: 'x', rules: [{ name: 'r', action: 'allow', include: [{ serviceToken: 'nobody' }] }] }, 'BAD_USAGE'],
    [{ name: 'x', rules: [{ name: 'r', action: 'allow', include: [{ inGroup: 'nobody' }] }] }, 'BAD_USAGE'],
    [{ name: 'x', rules: [{ name: 'r', action: 'allow', include: [{ everyone: true }], permit: {} }] }, 'BAD_USAGE'],
  ])('row 106: cannot be %j', async (body, code) => {
    await expect(administration.call('ca.create', { body: body as never })).rejects.toMatchObject({ code })
    expect(authoritiesIn(snapshot()).list()).toEqual([])
  })

  test('of ten at once with one name, one is made', async () => {
    const made = await Promise.allSettled(Array.from({ length: 10 }, () => create('team')))
    expect(made.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    expect(authoritiesIn(snapshot()).list()).toHaveLength(1)
  })

  test('is named by no group and no rule when it is removed, and nothing of it stays', async () => {
    const { id } = await create('team')
    await issue('team')
    await ruled('db.localhost', 'team')
    expect(await failing(administration.call('ca.delete', { params: { ca: 'team' } }))).toMatch(
      /^CONFLICT: .*db\.localhost/,
    )
    await ruled('db.localhost', undefined)
    await administration.call('ca.delete', { params: { ca: id } })
    expect(snapshot().records.get('mtls')?.size).toBe(0)
    expect(snapshot().revocations.has(`certificate-authority:${id}`)).toBe(true)
  })

  test('has no group taken from under its rules', async () => {
    const group = { params: { name: 'builders' } }
    await administration.call('group.put', { ...group, body: { selectors: [{ emailDomain: 'example.com' }] } })
    await create('team', { rules: [{ name: 'r', action: 'allow', include: [{ inGroup: 'builders' }] }] })
    expect(await failing(administration.call('group.delete', group))).toMatch(/^CONFLICT: .*the CA team/)
  })

  test('is changed as it was seen, where that is wanted', async () => {
    await create('team')
    const { version } = snapshot()
    const put = (leafSeconds: number) =>
      administration.call('ca.put', { params: { ca: 'team' }, body: { leafSeconds, ifVersion: version } })
    await put(600)
    await expect(put(1200)).rejects.toMatchObject({ code: 'CONFLICT' })
  })
})

describe('row 94: the key of a CA', () => {
  test('is sealed in the database: a copy of that alone gives nothing, and nothing that is said has it', async () => {
    const ours = await create('team')
    const { cert, key } = await createAuthority({ commonName: 'Elsewhere', days: 30 })
    await administration.call('ca.import', { body: { name: 'theirs', certificates: cert, key } })
    await issue('theirs')
    const { list } = await world.edge.store.readAudit({ most: 100 }).then(rows => ({ list: JSON.stringify(rows) }))
    const secret = key.replace(/-----[A-Z ]+-----|\s/g, '')
    expect(list.replaceAll('\\n', '')).not.toContain(secret.slice(20, 60))
    const copy = join(world.folder, 'copy.db')
    copyFileSync(join(world.folder, 'edge.db'), copy)
    copyFileSync(join(world.folder, 'edge.db-wal'), `${copy}-wal`)
    for (const file of readdirSync(world.folder).filter(name => name.startsWith('edge.db'))) {
      const bytes = readFileSync(join(world.folder, file), 'latin1')
      expect(bytes).not.toContain('PRIVATE KEY')
      expect(bytes.replaceAll('\\n', '')).not.toContain(secret.slice(20, 60))
    }
    const sealed = record(ours).issuing?.sealedKey ?? ''
    const other = await Seal.open(world.folder, false, Buffer.alloc(32, 7).toString('base64url'))
    expect(() => other.open(sealed)).toThrow(/does not fit/)
    // And with the edge's own key it is one: the test could fail.
    const own = await Seal.open(world.folder, true)
    expect(createPrivateKey(own.open(sealed)).asymmetricKeyType).toBe('ec')
  })

  test.skipIf(noOpenssl)(
    'signs nothing but leaves for clients: a request that wants to be a CA, or another’s, is given its key alone',
    async () => {
      await create('team')
      const key = join(world.folder, 'key.pem')
      const openssl = (...args: readonly string[]) =>
        execFileSync('openssl', args, { cwd: world.folder, stdio: 'pipe' })
      openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', key)
      const wish = ['-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign,cRLSign']
      const more = ['-addext', 'subjectAltName=DNS:edge.localhost,email:root@example.com']
      const csr = openssl(
        'req',
        '-new',
        '-key',
        key,
        '-subj',
        '/CN=edge.localhost/O=Other',
        ...wish,
        ...more,
      ).toString()
      const { certificate } = await issue('team', {
        csr,
        commonName: 'printer',
        san: [{ type: 'dns', value: 'p.example.com' }],
      })
      const leaf = new X509Certificate(certificate)
      expect(leaf.ca).toBe(false)
      expect(leaf.subject).toBe('CN=printer')
      expect(leaf.subjectAltName).toBe('DNS:p.example.com')
      expect(leaf.keyUsage).toEqual(['1.3.6.1.5.5.7.3.2'])
      expect(leaf.checkPrivateKey(createPrivateKey(readFileSync(key)))).toBe(true)
    },
  )

  test('signs for no time longer than the CA gives, and for none beyond its own', async () => {
    await create('team', { leafSeconds: 3600, days: 1 })
    expect(await failing(issue('team', { seconds: 3601 }))).toMatch(/^BAD_USAGE/)
    expect(await failing(issue('team', { seconds: 100 * 365 * 86_400 }))).toMatch(/^BAD_USAGE/)
    const short = await issue('team', { seconds: 600 })
    expect(Date.parse(short.notAfter) - Date.now()).toBeLessThanOrEqual(600_000)
    await administration.call('ca.put', { params: { ca: 'team' }, body: { leafSeconds: 30 * 86_400 } })
    const long = await issue('team')
    expect(Date.parse(long.notAfter)).toBeLessThanOrEqual(Date.now() + DAY)
  })

  test.skipIf(noOpenssl)('signs for no weak key, and for nobody who has not the key', async () => {
    await create('team')
    const openssl = (...args: readonly string[]) => execFileSync('openssl', args, { cwd: world.folder, stdio: 'pipe' })
    openssl('genrsa', '-out', 'weak.pem', '1024')
    const weak = openssl('req', '-new', '-key', 'weak.pem', '-subj', '/CN=x').toString()
    expect(await failing(issue('team', { csr: weak }))).toMatch(/^BAD_USAGE: .*RSA of 1024/)
    openssl('ecparam', '-name', 'secp256k1', '-genkey', '-noout', '-out', 'curve.pem')
    const curve = openssl('req', '-new', '-key', 'curve.pem', '-subj', '/CN=x').toString()
    expect(await failing(issue('team', { csr: curve }))).toMatch(/^BAD_USAGE/)
    const { csr } = await certificateRequest()
    const der = Buffer.from(csr.replace(/-----[A-Z ]+-----|\s/g, ''), 'base64')
    der[der.length - 1] = (der.at(-1) ?? 0) ^ 1 // the last of its signature
    const broken = `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`
    expect(await failing(issue('team', { csr: broken }))).toMatch(/^BAD_USAGE/)
    for (const nonsense of ['', 'x', `${csr}${csr}`, csr.replace('REQUEST', 'NOTHING')])
      expect(await failing(issue('team', { csr: nonsense }))).toMatch(/^BAD_USAGE/)
  })

  test('gives every certificate a serial of its own, by chance', async () => {
    await create('team')
    const all = await Promise.all(Array.from({ length: 20 }, () => issue('team')))
    const serials = new Set(all.map(({ serial }) => serial))
    expect(serials.size).toBe(20)
    for (const serial of serials) expect(serial).toMatch(/^[0-9a-f]{32}$/)
    expect(await administration.call('certificate.list', { query: { ca: 'team' } })).toHaveLength(20)
  })

  test.each([
    [{ commonName: 'x'.repeat(65) }],
    [{ commonName: 'a\u0000b' }],
    [{ commonName: undefined, san: [] }],
    [{ san: [{ type: 'dns', value: '*.example.com' }] }],
    [{ san: [{ type: 'dns', value: 'a b' }] }],
    [{ san: [{ type: 'dns', value: 'ex\u0430mple.com' }] }],
    [{ san: [{ type: 'email', value: 'a@b@example.com' }] }],
    [{ san: [{ type: 'ip', value: '010.0.0.1' }] }],
    [{ san: [{ type: 'uri', value: 'nothing' }] }],
    [{ san: [{ type: 'other', value: 'x' }] }],
    [
      {
        san: [
          { type: 'dns', value: 'a.example.com' },
          { type: 'dns', value: 'A.example.com' },
        ],
      },
    ],
    [{ san: Array.from({ length: 101 }, (_, n) => ({ type: 'dns', value: `n${n}.example.com` })) }],
    [{ isCa: true }],
    [{ serial: '01' }],
    [{ notBefore: 0 }],
  ])('row 89: signs nothing that could be read in two ways: %j', async wanted => {
    await create('team')
    const { csr } = await certificateRequest()
    const body = { csr, commonName: 'x', ...wanted } as never
    await expect(administration.call('certificate.issue', { params: { ca: 'team' }, body })).rejects.toMatchObject({
      code: 'BAD_USAGE',
    })
    expect(await administration.call('certificate.list', { query: {} })).toEqual([])
  })
})

describe('a CA of another program', () => {
  const imported = (body: object) => administration.call('ca.import', { body: { name: 'theirs', ...body } as never })

  test('that brings its key issues here; one that does not says whose certificates are good', async () => {
    const { cert, key } = await createAuthority({ commonName: 'Theirs', days: 30, keyType: 'rsa' })
    await imported({ certificates: `text around it\n${cert}`, key })
    const { certificate } = await issue('theirs')
    expect(new X509Certificate(certificate).verify(new X509Certificate(cert).publicKey)).toBe(true)
    const keyless = await elsewhere('Keyless')
    await imported({ name: 'keyless', certificates: keyless.cert })
    expect(await failing(issue('keyless'))).toMatch(/^CONFLICT: .*without its key/)
    await administration.call('ca.rotate', {
      params: { ca: 'keyless' },
      body: { certificates: keyless.cert, key: keyless.key },
    })
    await issue('keyless')
  })

  test.skipIf(noOpenssl)('is refused when it is none, or one that cannot be trusted', async () => {
    const { cert, key } = await createAuthority({ commonName: 'Theirs', days: 30 })
    const leafKey = await makeKey()
    const { csr } = await certificateRequest()
    const { publicKey } = await readCertificateRequest(csr)
    const leaf = await issueCertificate(
      { cert, key },
      { publicKey, commonName: 'x', san: [], seconds: 3600, usage: 'client' },
    )
    const openssl = (...args: readonly string[]) => execFileSync('openssl', args, { cwd: world.folder, stdio: 'pipe' })
    const made = (bits: string, digest: string) => {
      const self = ['req', '-x509', '-newkey', `rsa:${bits}`, '-nodes', '-subj', '/CN=Weak', '-days', '30']
      return openssl(...self, digest, '-keyout', 'k.pem', '-addext', 'basicConstraints=critical,CA:TRUE').toString()
    }
    const encrypted = generateKeyPairSync('ec', {
      namedCurve: 'P-256',
      publicKeyEncoding: { type: 'spki', format: 'pem' },
      privateKeyEncoding: { type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' },
    }).privateKey
    for (const body of [
      { certificates: 'nothing' },
      { certificates: leaf.cert },
      { certificates: made('1024', '-sha256') },
      { certificates: made('2048', '-sha1') },
      { certificates: cert, key: leafKey },
      { certificates: cert, key: encrypted },
      { certificates: cert, key: 'nothing' },
      { certificates: cert, key: cert },
    ]) {
      const said = await failing(imported(body))
      expect(said).toMatch(/^BAD_USAGE/)
      expect(said).not.toContain('BEGIN')
    }
    expect(authoritiesIn(snapshot()).list()).toEqual([])
    await imported({ certificates: made('2048', '-sha256') })
  })

  test('has a revocation list: what it lists is cut, an older one and another’s are refused', async () => {
    const theirs = await elsewhere('Theirs')
    const { id } = await imported({ certificates: theirs.cert })
    const put = (crl: string) => administration.call('crl.put', { params: { ca: 'theirs' }, body: { crl } })
    await put(theirs.revocationList(['0a', '01f2'], { number: 5 }))
    expect(snapshot().records.get('mtls')?.get(`crl.${id}`)).toMatchObject({ number: '5', serials: ['0a', '01f2'] })
    expect(snapshot().revocations.has(`certificate:${id}:0a`)).toBe(true)
    const { version } = snapshot()
    expect(await failing(put(theirs.revocationList([], { number: 4 })))).toMatch(/^CONFLICT: .*older/)
    expect(await failing(put((await elsewhere('Theirs')).revocationList(['0b'])))).toMatch(/^BAD_USAGE/)
    expect(await failing(put(theirs.revocationList([], { number: 6, nextUpdate: Date.now() - 1000 })))).toMatch(
      /^BAD_USAGE/,
    )
    expect(await failing(put('nothing'))).toMatch(/^BAD_USAGE/)
    expect(snapshot().version).toBe(version)
    const der = theirs.revocationList(['0a', '01f2', '7b'], { number: 6 }).replace(/-----[A-Z0-9 ]+-----|\s/g, '')
    expect((await put(der)).revocationList).toMatchObject({ number: '6', serials: 3 })
    expect(snapshot().revocations.get(`certificate:${id}:7b`)?.version).toBe(snapshot().version)
    expect(snapshot().revocations.get(`certificate:${id}:0a`)?.version).toBeLessThan(snapshot().version)
    await administration.call('crl.delete', { params: { ca: 'theirs' } })
    expect((await administration.call('ca.get', { params: { ca: 'theirs' } })).revocationList).toBeUndefined()
  })

  test('may list thousands, over HTTP too; then everybody is cut once, and not thousands one by one', async () => {
    const theirs = await elsewhere('Theirs')
    const { id } = await imported({ certificates: theirs.cert })
    const crl = theirs.revocationList(Array.from({ length: 30_000 }, (_, n) => (n + 1).toString(16)))
    const api = apiOf(world.edge, world.folder)
    const path = '/certificate-authorities/theirs/revocation-list'
    const answer = await api.socket({ method: 'PUT', path, body: { crl } })
    expect(answer.json).toMatchObject({ revocationList: { serials: 30_000 } })
    expect([...snapshot().revocations.keys()].filter(key => key.includes(id))).toEqual([`certificate-authority:${id}`])
    const large = JSON.stringify({ crl: 'A'.repeat(4 * 1024 * 1024) })
    expect(await api.socket({ method: 'PUT', path, raw: large })).toMatchObject({ status: 413 })
  })
})

describe('a rotation', () => {
  test('adds a certificate that issues; what the one before issued stays good until that is retired', async () => {
    const { id, certificates } = await create('team')
    const [old] = certificates
    const before = await issue('team')
    const params = { ca: 'team' }
    expect(
      await failing(administration.call('ca.retire', { params: { ...params, fingerprint: old?.fingerprint ?? '' } })),
    ).toMatch(/^CONFLICT: .*only/)
    const rotated = await administration.call('ca.rotate', { params, body: { commonName: 'team 2' } })
    expect(rotated.certificates.map(({ issuing }) => issuing)).toEqual([false, true])
    const after = await issue('team')
    const [first, second] = rotated.certificates.map(({ pem }) => new X509Certificate(pem))
    expect(new X509Certificate(before.certificate).verify(first!.publicKey)).toBe(true)
    expect(new X509Certificate(after.certificate).verify(second!.publicKey)).toBe(true)
    const issuing = rotated.certificates[1]?.fingerprint ?? ''
    expect(await failing(administration.call('ca.retire', { params: { ...params, fingerprint: issuing } }))).toMatch(
      /^CONFLICT: .*issues/,
    )
    const retired = await administration.call('ca.retire', {
      params: { ...params, fingerprint: old?.fingerprint ?? '' },
    })
    expect(retired.certificates.map(({ fingerprint }) => fingerprint)).toEqual([issuing])
    expect(snapshot().revocations.has(`certificate-authority:${id}:${old?.fingerprint}`)).toBe(true)
    expect(snapshot().revocations.has(`certificate-authority:${id}`)).toBe(false)
    const gone = { params: { ...params, fingerprint: old?.fingerprint ?? '' } }
    expect(await failing(administration.call('ca.retire', gone))).toMatch(/^NOT_FOUND/)
  })

  test('brings no certificate that another CA has: whose a client’s certificate is has one answer', async () => {
    const theirs = await elsewhere('Theirs')
    await create('team')
    await administration.call('ca.import', { body: { name: 'theirs', certificates: theirs.cert } } as never)
    const rotate = (ca: string, certificates: string) =>
      failing(administration.call('ca.rotate', { params: { ca }, body: { certificates } } as never))
    expect(await rotate('team', theirs.cert)).toMatch(/^ALREADY_EXISTS: .*theirs has that certificate/)
    expect(await rotate('team', (await elsewhere('Theirs')).cert)).toBe('done')
  })

  test('row 87: keeps what the list of the certificate before says, until that is retired', async () => {
    const [before, after] = [await elsewhere('Before'), await elsewhere('After')]
    const params = { ca: 'theirs' }
    const { id, certificates } = await administration.call('ca.import', {
      body: { name: 'theirs', certificates: before.cert },
    } as never)
    await administration.call('ca.rotate', { params, body: { certificates: after.cert } } as never)
    const put = (crl: string) => failing(administration.call('crl.put', { params, body: { crl } }))
    const serials = () => snapshot().records.get('mtls')?.get(`crl.${id}`)
    expect(await put(before.revocationList(['0a'], { number: 5 }))).toBe('done')
    expect(await put(after.revocationList(['0b'], { number: 6 }))).toMatch(/^CONFLICT: .*another certificate/)
    expect(serials()).toMatchObject({ serials: ['0a'] })
    expect(await put(before.revocationList(['0a', '0c'], { number: 6 }))).toBe('done')
    const fingerprint = certificates[0]?.fingerprint ?? ''
    await administration.call('ca.retire', { params: { ...params, fingerprint } })
    expect(await put(after.revocationList(['0b'], { number: 1 }))).toBe('done')
    expect(serials()).toMatchObject({ serials: ['0b'] })
  })

  test('that gives a CA to fewer applications cuts who came by it', async () => {
    const { id } = await create('team')
    const put = (hostnames: string[] | null) =>
      administration.call('ca.put', { params: { ca: 'team' }, body: { hostnames } })
    await put(['db.localhost', 'other.localhost'])
    expect(snapshot().revocations.has(`certificate-authority:${id}`)).toBe(false)
    await put(['other.localhost'])
    expect(snapshot().revocations.has(`certificate-authority:${id}`)).toBe(true)
  })
})

describe('revocation', () => {
  const revoke = (body: Input<'certificate.revoke'>['body']) =>
    administration.call('certificate.revoke', { params: { ca: 'team' }, body })

  test('is by serial, in any spelling, once; and of what another program issued too', async () => {
    const { id } = await create('team')
    const { serial } = await issue('team')
    const colons = serial.toUpperCase().replace(/..(?=.)/g, '$&:')
    expect(await revoke({ serial: colons })).toEqual({ revoked: 1 })
    expect(await revoke({ serial })).toEqual({ revoked: 0 })
    expect(snapshot().records.get('mtls')?.get(`revoked.${id}.${serial}`)).toMatchObject({ at: expect.any(Number) })
    expect(snapshot().revocations.has(`certificate:${id}:${serial}`)).toBe(true)
    expect(await revoke({ serial: '00:0A:1b' })).toEqual({ revoked: 1 })
    expect(snapshot().records.get('mtls')?.has(`revoked.${id}.0a1b`)).toBe(true)
    await expect(revoke({ serial: ':' })).rejects.toMatchObject({ code: 'BAD_USAGE' })
  })

  test('is by the address in it', async () => {
    await create('team')
    await issue('team', { san: [{ type: 'email', value: 'Ann@Example.com' }] })
    await issue('team', {
      san: [
        { type: 'email', value: 'ann@example.com' },
        { type: 'dns', value: 'a.example.com' },
      ],
    })
    await issue('team', { san: [{ type: 'email', value: 'bob@example.com' }] })
    expect(await revoke({ email: 'ANN@example.com' })).toEqual({ revoked: 2 })
    const list = await administration.call('certificate.list', { query: { name: 'bob@example.com' } })
    expect(list.map(({ revokedAt }) => revokedAt)).toEqual([undefined])
  })

  test('outlives neither the certificate nor its CA: rows of what has ended are swept', async () => {
    await create('team', { leafSeconds: 600 })
    const { serial } = await issue('team')
    await revoke({ serial })
    await revoke({ serial: '0a1b' })
    using sweep = new CertificateSweep(world.edge.store, quiet)
    await sweep.sweep(Date.now() + 601_000)
    expect(snapshot().records.get('mtls')?.size).toBe(4)
    await sweep.sweep(Date.now() + 8 * DAY)
    // Of a serial that was not issued here nobody knows when it ends.
    expect([...(snapshot().records.get('mtls')?.keys() ?? [])].filter(key => !key.startsWith('ca.'))).toEqual([
      expect.stringMatching(/^revoked\..*\.0a1b$/),
    ])
  })

  test('says in time that a list ends', async () => {
    const theirs = await elsewhere('Theirs')
    await administration.call('ca.import', { body: { name: 'theirs', certificates: theirs.cert } })
    const crl = theirs.revocationList(['0a'], { nextUpdate: Date.now() + DAY / 2 })
    await administration.call('crl.put', { params: { ca: 'theirs' }, body: { crl } })
    const said: string[] = []
    const log = { ...quiet, warn: (line: string) => said.push(line), error: (line: string) => said.push(line) }
    using sweep = new CertificateSweep(world.edge.store, log)
    await sweep.sweep(Date.now() + DAY)
    const lists = said.filter(line => line.includes('revocation list'))
    expect(lists).toEqual([expect.stringContaining('ends soon'), expect.stringContaining('has ended')])
  })
})

test('row 149: a CA that ends is said a month, a week and a day before, once each', async () => {
  await create('short', { days: 5 })
  await create('long')
  const said: object[] = []
  const log = { ...quiet, warn: (_line: string, fields: object = {}) => void said.push(fields) }
  using sweep = new CertificateSweep(world.edge.store, log)
  await sweep.sweep()
  await sweep.sweep()
  expect(said).toEqual([expect.objectContaining({ file: 'the CA short', days: 4 })])
})

test('row 112: an older copy of the database does not make revoked certificates, or a retired CA, good again', async () => {
  const team = await create('team')
  const doomed = await create('doomed')
  const { serial } = await issue('team')
  const path = join(world.folder, 'older.db')
  for (const suffix of ['', '-wal']) copyFileSync(join(world.folder, `edge.db${suffix}`), `${path}${suffix}`)
  await administration.call('certificate.revoke', { params: { ca: 'team' }, body: { serial } })
  await administration.call('ca.rotate', { params: { ca: 'team' }, body: {} })
  const fingerprint = team.certificates[0]?.fingerprint ?? ''
  await administration.call('ca.retire', { params: { ca: 'team', fingerprint } })
  await administration.call('ca.delete', { params: { ca: 'doomed' } })
  copyFileSync(join(world.folder, 'edge.db.version'), `${path}.version`)
  const { endRestored } = await import('../src/sign-in/restored.ts')
  await using store = await openStore({ path }, call)
  expect(store.snapshot.records.get('mtls')?.has(authorityRow(doomed.id))).toBe(true)
  await endRestored(store, quiet)
  // Of the copy, the team’s only certificate was retired since.
  expect(authoritiesIn(store.snapshot).list()).toEqual([])
})
