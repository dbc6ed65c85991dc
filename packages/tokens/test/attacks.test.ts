// Numbers are rows of the catalogue in docs/security.md.
import { createHmac, createPublicKey, generateKeyPairSync } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { deflateRawSync } from 'node:zlib'
import fc from 'fast-check'
import { CompactEncrypt, FlattenedSign, GeneralSign, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { KeyRing, LONGEST_TOKEN, verifyToken } from '../src/index.ts'
import { base64url, currentOf, EXPECTED, forge, goodClaims, goodHeader, SIGNING, signedBy, TYP } from './forge.ts'

const es256 = KeyRing.create()
const rs256 = KeyRing.create({ alg: 'RS256' })
const REJECTED = { code: 'AUTH_REJECTED' }

describe.each([
  ['ES256', es256],
  ['RS256', rs256],
] as const)('a token signed with %s', (alg, ring) => {
  const header = goodHeader(ring)
  const refused = (token: unknown) => expect(ring.verify(token, EXPECTED)).rejects.toMatchObject(REJECTED)
  const accepted = (token: unknown) =>
    expect(ring.verify(token, EXPECTED)).resolves.toMatchObject({ claims: { sub: 'ann' } })
  const resigned = (head: string | object, claims: string | object = goodClaims()) =>
    forge(head, claims, signedBy(ring))

  test('the allow twin: the same made by hand, and by jose, is accepted', async () => {
    await accepted(resigned(header))
    await accepted(await ring.sign({ sub: 'ann' }, SIGNING))
    const key = currentOf(ring).privateJwk
    await accepted(await new SignJWT(goodClaims()).setProtectedHeader(header).sign(key))
  })

  test('1: alg none, in every spelling, with and without a signature', async () => {
    const spellings = ['none', 'None', 'nOnE', 'NONE', '', ' none', 'none ', 'n\u043ene']
    for (const none of spellings) {
      const parts = resigned({ ...header, alg: none })
      await refused(parts)
      await refused(parts.replace(/[^.]*$/, ''))
      await refused(parts.replace(/\.[^.]*$/, ''))
    }
    await refused(resigned(header).replace(/[^.]*$/, ''))
    await accepted(resigned(header))
  })

  test('2: HMAC with the public key as its secret, in every form it is published', async () => {
    const publicJwk = ring.jwks().keys.find(key => key.kid === header.kid)!
    const key = createPublicKey({ key: publicJwk, format: 'jwk' })
    const pem = key.export({ type: 'spki', format: 'pem' }) as string
    const secrets: (string | Buffer)[] = [
      pem,
      pem.trimEnd(),
      `\n${pem}`,
      `\ufeff${pem}`,
      pem.replaceAll('\n', '\r\n'),
      key.export({ type: 'spki', format: 'der' }),
      JSON.stringify(publicJwk),
      JSON.stringify(key.export({ format: 'jwk' })),
      Buffer.from(publicJwk.x ?? publicJwk.n ?? '', 'base64url'),
      '',
    ]
    for (const [hmac, hash] of [
      ['HS256', 'sha256'],
      ['HS384', 'sha384'],
      ['HS512', 'sha512'],
      [alg, 'sha256'],
    ] as const)
      for (const secret of secrets)
        await refused(
          forge({ ...header, alg: hmac }, goodClaims(), input =>
            createHmac(hash, secret).update(input).digest('base64url'),
          ),
        )
  })

  test('another algorithm than the key’s, and another spelling of its own', async () => {
    for (const other of [
      'ES256',
      'RS256',
      'PS256',
      'ES384',
      'ES256K',
      'EdDSA',
      'RS1',
      alg.toLowerCase(),
      ['ES256'],
      null,
    ])
      if (other !== alg) await refused(resigned({ ...header, alg: other }))
    const { alg: _, ...without } = header
    await refused(resigned(without))
  })

  test('8: every form but the compact one', async () => {
    const key = currentOf(ring).privateJwk
    const payload = Buffer.from(JSON.stringify(goodClaims()))
    const flat = await new FlattenedSign(payload).setProtectedHeader(header).sign(key)
    const general = await new GeneralSign(payload).addSignature(key).setProtectedHeader(header).sign()
    const { alg: _, ...rest } = header
    const unprotected = await new FlattenedSign(payload)
      .setProtectedHeader(rest)
      .setUnprotectedHeader({ alg })
      .sign(key)
    for (const jws of [flat, general, unprotected]) {
      await refused(jws)
      await refused(JSON.stringify(jws))
      await refused(base64url(JSON.stringify(jws)))
    }
    const [head, , signature] = resigned(header).split('.')
    await refused(`${head}..${signature}`) // detached content
    for (const odd of [
      undefined,
      null,
      1,
      {},
      [],
      [resigned(header)],
      new String(resigned(header)),
      Buffer.from(resigned(header)),
    ])
      await refused(odd)
  })

  test('8: members given twice, white space, byte order marks, bad UTF-8', async () => {
    const rest = `"typ":"${TYP}","kid":"${header.kid}"`
    await accepted(resigned(`{"alg":"${alg}",${rest}}`))
    await refused(resigned(`{"alg":"none","alg":"${alg}",${rest}}`))
    await refused(resigned(`{"alg":"${alg}","alg":"${alg}",${rest}}`))
    await refused(resigned(`{"alg":"${alg}","\\u0061lg":"${alg}",${rest}}`))
    await refused(resigned(`\ufeff{"alg":"${alg}",${rest}}`))
    await refused(resigned(` {"alg":"${alg}",${rest}}`))
    const claims = JSON.stringify(goodClaims())
    await accepted(resigned(header, claims))
    await refused(resigned(header, claims.replace('{', '{"aud":"other.example.com",')))
    await refused(resigned(header, claims.replace('}', ',"sub":"root"}')))
    await refused(resigned(header, `${claims} `))
    await refused(
      resigned(header, Buffer.concat([Buffer.from(claims.slice(0, -1)), Buffer.from(',"x":"\xff"}', 'latin1')])),
    )
  })

  test('9: encrypted tokens, and headers that ask for work', async () => {
    const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const bomb = deflateRawSync(Buffer.alloc(1 << 20))
    const jwe = await new CompactEncrypt(bomb.subarray(0, 500))
      .setProtectedHeader({ alg: 'RSA-OAEP', enc: 'A256GCM' })
      .encrypt(publicKey)
    await refused(jwe)
    const asks = { alg: 'PBES2-HS256+A128KW', enc: 'A128GCM', p2c: 2 ** 31, p2s: 'AAAA', zip: 'DEF' }
    await refused(`${base64url(asks)}.AAAA.AAAA.AAAA.AAAA`)
    await refused(`${base64url(asks)}.AAAA.AAAA`)
    await refused(resigned({ ...header, zip: 'DEF' }, bomb.subarray(0, 500)))
    await refused(resigned({ ...header, enc: 'A128GCM' }))
  })

  test('4: a kid of every kind opens nothing', async () => {
    const kids = [
      '../../../dev/null',
      "' OR 1=1--",
      '__proto__',
      'constructor',
      'toString',
      '',
      'k'.repeat(1 << 20),
      'a\u0000b',
      7,
      null,
      {},
      [header.kid],
      true,
    ]
    for (const kid of kids) await refused(resigned({ ...header, kid }))
    const { kid: _, ...without } = header
    await refused(resigned(without))
    await refused(resigned(`{"alg":"${alg}","typ":"${TYP}","__proto__":{"kid":"${header.kid}"}}`))
  })

  test('6: a payload that is not a plain object, though really signed', async () => {
    for (const payload of ['[]', '"text"', '1', 'null', 'true', '', '{', `[${JSON.stringify(goodClaims())}]`, '{}'])
      await refused(resigned(header, payload === '' ? '' : payload))
    const { exp: _, ...forever } = goodClaims()
    await refused(resigned(header, forever))
    const { iat: __, ...unborn } = goodClaims()
    await refused(resigned(header, unborn))
    for (const exp of ['9e9', '9999999999', null, true, [9999999999], {}, -1, 1.5, 2 ** 60])
      await refused(resigned(header, { ...goodClaims(), exp }))
    for (const raw of ['9e9', '1e400', '99999999999999999999', 'Infinity', 'NaN', '9999999999.5'])
      await refused(resigned(header, JSON.stringify(goodClaims()).replace(/"exp":\d+/, `"exp":${raw}`)))
  })

  test('6: times', async () => {
    const now = Math.floor(Date.now() / 1000)
    const at = (more: object) => resigned(header, { ...goodClaims(now), ...more })
    const verify = (token: string, clockToleranceSeconds: number) =>
      ring.verify(token, { ...EXPECTED, clockToleranceSeconds, now: now * 1000 })
    await expect(verify(at({ iat: now - 99, exp: now }), 0)).rejects.toMatchObject({ code: 'TOKEN_EXPIRED' })
    await expect(verify(at({ iat: now - 99, exp: now }), 1)).resolves.toBeDefined()
    await expect(verify(at({ iat: now - 99, exp: now - 60 }), 60)).rejects.toMatchObject({ code: 'TOKEN_EXPIRED' })
    await expect(verify(at({ iat: now + 30 }), 29)).rejects.toMatchObject(REJECTED)
    await expect(verify(at({ iat: now + 30 }), 30)).resolves.toBeDefined()
    await expect(verify(at({ nbf: now + 30 }), 29)).rejects.toMatchObject(REJECTED)
    await expect(verify(at({ nbf: now + 30 }), 30)).resolves.toBeDefined()
    await expect(verify(at({ nbf: `${now}` }), 30)).rejects.toMatchObject(REJECTED)
    await expect(verify(at({ iat: now + 5, exp: now + 5 }), 30)).rejects.toMatchObject(REJECTED)
  })

  test('6: only who holds a token that was good learns that it has expired', async () => {
    const now = Math.floor(Date.now() / 1000)
    const old = { ...goodClaims(now - 1000) }
    await expect(ring.verify(resigned(header, old), EXPECTED)).rejects.toMatchObject({ code: 'TOKEN_EXPIRED' })
    await refused(forge(header, old, () => base64url(new Uint8Array(alg === 'ES256' ? 64 : 256))))
    await refused(resigned(header, { ...old, aud: 'other.example.com' }))
  })

  test('10: for another application', async () => {
    const other = { ...SIGNING, audience: 'other.example.com' }
    await refused(await ring.sign({ sub: 'ann' }, other))
    await expect(
      ring.verify(await ring.sign({ sub: 'ann' }, other), { ...EXPECTED, audience: other.audience }),
    ).resolves.toBeDefined()
    for (const aud of [
      ['app.example.com'],
      ['app.example.com', 'other.example.com'],
      'APP.example.com',
      'app.example.com.',
      '',
      null,
      { 0: 'app.example.com' },
    ])
      await refused(resigned(header, { ...goodClaims(), aud }))
    const { aud: _, ...nowhere } = goodClaims()
    await refused(resigned(header, nowhere))
  })

  test('11: of another kind', async () => {
    const kinds = [
      'JWT',
      'jwt',
      'AT+JWT',
      'application/at+jwt',
      'postern-identity+jwt',
      'postern-grant+jwt',
      'logout+jwt',
      ' at+jwt',
      '',
      null,
      [TYP],
    ]
    for (const typ of kinds) await refused(resigned({ ...header, typ }))
    const { typ: _, ...without } = header
    await refused(resigned(without))
    for (const secret of ['pat_x', `pats_${'0'.repeat(24)}_${'A'.repeat(43)}`, `ptt_${base64url({ t: 'x', s: 'y' })}`])
      await refused(secret)
  })

  test('12: from another issuer, by one character', async () => {
    for (const iss of [
      'https://team.example.com/',
      'https://Team.example.com',
      'http://team.example.com',
      'https://team.example.com.evil.example',
      '',
      null,
      ['https://team.example.com'],
    ])
      await refused(resigned(header, { ...goodClaims(), iss }))
  })

  test('any other member in the header is refused, not ignored', async () => {
    const members = {
      crit: ['b64'],
      b64: false,
      zip: 'DEF',
      cty: 'JWT',
      x5t: 'AAAA',
      'x5t#S256': 'AAAA',
      epk: {},
      __proto__x: 1,
      nonce: 'n',
    }
    for (const [name, value] of Object.entries(members)) await refused(resigned({ ...header, [name]: value }))
    await refused(resigned({ ...header, crit: ['exp'], exp: 1 }))
    await refused(resigned({ ...header, crit: [] }))
  })

  test('signed with a key of the same kind that is not ours', async () => {
    const stranger = KeyRing.create({ alg })
    await refused(forge(header, goodClaims(), signedBy(stranger)))
    await refused(await stranger.sign({ sub: 'ann' }, SIGNING))
  })

  test('any one byte changed', async () => {
    const token = await ring.sign({ sub: 'ann', groups: ['ops'] }, SIGNING)
    await accepted(token)
    const byte = fc.constantFrom(...Array.from({ length: 256 }, (_, code) => String.fromCharCode(code)))
    await fc.assert(
      fc.asyncProperty(fc.nat(token.length - 1), byte, async (at, other) => {
        fc.pre(token[at] !== other)
        await refused(token.slice(0, at) + other + token.slice(at + 1))
      }),
      { numRuns: 600 },
    )
  })

  test('any other last character: unused bits, padding, line ends', async () => {
    const token = await ring.sign({ sub: 'ann' }, SIGNING)
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=. \n'
    for (const [part, end] of [...token.matchAll(/\.|$/g)].map((match, index) => [index, match.index] as const))
      for (const other of alphabet)
        if (token[end - 1] !== other) {
          expect(part).toBeLessThan(3)
          await refused(token.slice(0, end - 1) + other + token.slice(end))
        }
    for (const more of ['=', '==', '\n', ' ', '.', '.AAAA', '\u0000', 'A', 'AAAA']) {
      await refused(token + more)
      await refused(more + token)
    }
  })

  test('parts cut away or put together from two tokens', async () => {
    const one = (await ring.sign({ sub: 'ann' }, SIGNING)).split('.')
    const two = (await ring.sign({ sub: 'root' }, SIGNING)).split('.')
    await refused([one[0], two[1], one[2]].join('.'))
    await refused([one[0], one[1]].join('.'))
    for (let length = 0; length < one.join('.').length; length += 7) await refused(one.join('.').slice(0, length))
  })
})

test('is refused before a key is looked for', async () => {
  const header = goodHeader(es256)
  const looksFor = async (token: string) => {
    let isAsked = false
    const find = () => {
      isAsked = true
      return undefined
    }
    await expect(verifyToken(token, find, EXPECTED)).rejects.toMatchObject(REJECTED)
    return isAsked
  }
  const sign = signedBy(es256)
  expect(await looksFor(forge(header, goodClaims(), sign))).toBe(true)
  for (const head of [
    { ...header, alg: 'none' },
    { ...header, alg: 'HS256' },
    { ...header, kid: '../x' },
    { ...header, kid: '' },
    { ...header, kid: 'k'.repeat(129) },
    { ...header, typ: 'JWT' },
    { ...header, jku: 'https://x' },
    [header],
  ])
    expect(await looksFor(forge(head, goodClaims(), sign))).toBe(false)
  for (const payload of [[goodClaims()], [], 'null', '"text"'])
    expect(await looksFor(forge(header, payload, sign))).toBe(false)
  const token = forge(header, goodClaims(), sign)
  for (const odd of [`${token}.AAAA`, `${token}.`, `${token}=`, token.split('.').slice(0, 2).join('.')])
    expect(await looksFor(odd)).toBe(false)
})

describe('3: keys and addresses in the header', () => {
  let asked = 0
  const listener = createServer((_, response) => {
    asked += 1
    response.end()
  })
  let url = ''
  beforeAll(async () => {
    await new Promise<void>(done => listener.listen(0, '127.0.0.1', done))
    url = `http://127.0.0.1:${(listener.address() as AddressInfo).port}/keys`
  })
  afterAll(() => new Promise(done => listener.close(done)))

  test('are refused and never followed', async () => {
    const stranger = KeyRing.create()
    const jwk = stranger.jwks().keys.find(key => key.kid === currentOf(stranger).kid)
    const more = { jwk, jku: url, x5u: url, x5c: ['MIIB'] }
    for (const ring of [es256, stranger])
      for (const [name, value] of Object.entries(more))
        for (const kid of [goodHeader(es256).kid, goodHeader(stranger).kid])
          await expect(
            es256.verify(forge({ ...goodHeader(es256), kid, [name]: value }, goodClaims(), signedBy(ring)), EXPECTED),
          ).rejects.toMatchObject(REJECTED)
    expect(asked).toBe(0)
    await fetch(url)
    expect(asked).toBe(1) // the listener does count
  })
})

describe('size', () => {
  test('is looked at before anything is read', async () => {
    const long = `${'A'.repeat(LONGEST_TOKEN)}.A.A`
    await expect(es256.verify(long, EXPECTED)).rejects.toThrow(/longer than/)
    await expect(es256.verify('.'.repeat(1 << 24), EXPECTED)).rejects.toThrow(/longer than/)
    const deep = `{"a":${'['.repeat(2900)}${']'.repeat(2900)}}`
    await expect(es256.verify(forge(goodHeader(es256), deep, signedBy(es256)), EXPECTED)).rejects.toMatchObject(
      REJECTED,
    )
  })

  test('as much as fits is accepted; more is not signed', async () => {
    const note = 'x'.repeat(5700)
    const token = await es256.sign({ sub: 'ann', note }, SIGNING)
    expect(token.length).toBeLessThanOrEqual(LONGEST_TOKEN)
    await expect(es256.verify(token, EXPECTED)).resolves.toMatchObject({ claims: { note } })
    await expect(es256.sign({ note: note + note }, SIGNING)).rejects.toMatchObject({ code: 'OPTION_INVALID' })
  })

  test('26: claims that would change every object change none', async () => {
    const payload = JSON.stringify(goodClaims()).replace('}', ',"__proto__":{"isAdmin":true}}')
    const { claims } = await es256.verify(forge(goodHeader(es256), payload, signedBy(es256)), EXPECTED)
    expect((claims as { isAdmin?: unknown }).isAdmin).toBeUndefined()
    expect(({} as { isAdmin?: unknown }).isAdmin).toBeUndefined()
  })
})

test('a refusal says nothing of what the token held', async () => {
  const token = forge(
    { ...goodHeader(es256), secretmember: 'canary-1' },
    { ...goodClaims(), sub: 'canary-2' },
    signedBy(es256),
  )
  const error = await es256.verify(token, EXPECTED).catch((one: unknown) => one)
  const seen = `${(error as Error).message} ${JSON.stringify(error)} ${(error as Error).stack}`
  expect(seen).toContain('AUTH_REJECTED')
  expect(seen).not.toMatch(/canary|secretmember/)
  expect(seen).not.toContain(token.slice(0, 40))
})
