import { createHmac, createPublicKey, generateKeyPairSync, sign } from 'node:crypto'
import type { Call, Json, Presented } from '@postern/interface'
import { KeyRing } from '@postern/tokens'
import { describe, expect, test } from 'vitest'
import edge from '../src/edge.ts'
import {
  ANN,
  APP,
  COOKIE,
  COOKIE_ROW,
  claims,
  cookie,
  HOST,
  HOUR,
  hostOf,
  KIND,
  rowsWith,
  SESSION_ROW,
  SID,
  session,
  TEAM,
} from './edge-world.ts'

const logged: string[] = []
const say = (message: string): void => void logged.push(message)
const call: Call = { signal: new AbortController().signal, log: { debug: say, info: say, warn: say, error: say } }

const ring = { current: KeyRing.create() }
const good = await ring.current.sign(claims(), KIND)
const [, goodPayload = ''] = good.split('.')
const kid = ring.current.list().find(({ state }) => state === 'current')?.kid ?? ''
const jwk = ring.current.jwks().keys.find(key => key.kid === kid) ?? {}

function presented(headers: Record<string, string | string[]>, host = HOST): Presented {
  const all = Object.entries({ host, ...headers }).map(([name, value]) => [name, [value].flat()])
  return { method: 'GET', url: '/', headers: Object.fromEntries(all), remoteAddress: '192.0.2.1' }
}
const withToken = (token: string, host?: string) => presented({ 'postern-access-token': token }, host)
const withCookie = (value: string, host?: string) => presented({ cookie: `__Host-postern-session=${value}` }, host)

async function ask(what: Presented, rows: Record<string, Json> = rowsWith()) {
  const { lent, asked } = hostOf(rows, ring)
  const verifier = await edge.create({}, lent)
  const outcome = await verifier.verify(what, call).then(
    verdict => (verdict === undefined ? 'absent' : 'identity' in verdict ? verdict.identity : 'challenge'),
    (error: { code: string }) => error.code,
  )
  return { outcome, asked }
}
const verify = async (what: Presented, rows?: Record<string, Json>) => (await ask(what, rows)).outcome

const b64 = (value: string | object) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

describe('the person', () => {
  const person = { kind: 'user', ...ANN, email: 'ann@example.com', groups: ['staff'] }
  const known = { team: 'red', name: 'Ann', sid: SID, auth_time: 1000 }

  test('is known by the cookie, among others’ cookies', async () => {
    const value = `theme=dark; __Host-postern-session=${COOKIE}; sid=x=y`
    expect(await verify(presented({ cookie: value }))).toMatchObject({
      ...person,
      claims: known,
      revokeKeys: [`session:${SID}`, `user:${ANN.issuer} ann`, 'cookie:cccccccccccccccccccccccc'],
    })
  })

  test('is known by the token, and ends when the session does, not when the token does', async () => {
    const identity = await verify(withToken(good))
    expect(identity).toMatchObject({ ...person, claims: known })
    expect(identity).toMatchObject({ revokeKeys: [`session:${SID}`, `user:${ANN.issuer} ann`, `key:${kid}`] })
    expect((identity as { expiresAt: number }).expiresAt).toBeGreaterThan(Date.now() + HOUR - 10_000)
  })

  test('is known by a bearer token where that is shown', async () => {
    expect(await verify(presented({ authorization: `Bearer ${good}` }))).toMatchObject(person)
    expect(await verify(presented({ authorization: 'Basic YTpi' }))).toBe('absent')
  })

  test('is nobody without anything of ours', async () => {
    for (const headers of [
      {},
      { cookie: 'a=b' },
      { cookie: `x__Host-postern-session=${COOKIE}` },
      { cookie: '__host-postern-session=x' },
    ])
      expect(await verify(presented(headers))).toBe('absent')
  })
})

describe('as if absent', () => {
  test.each<[string, Presented, Record<string, Json>]>([
    [
      'a cookie that has expired',
      withCookie(COOKIE),
      rowsWith({ [COOKIE_ROW]: cookie({ expiresAt: Date.now() - 1 }) }),
    ],
    ['a cookie that is not known', withCookie(COOKIE), { [SESSION_ROW]: session() }],
    ['a cookie whose session was revoked', withCookie(COOKIE), { [COOKIE_ROW]: cookie() }],
    ['a token whose session was revoked', withToken(good), {}],
    ['a cookie’s record that cannot be read', withCookie(COOKIE), rowsWith({ [COOKIE_ROW]: { kind: 'cookie' } })],
    ['a session’s record that cannot be read', withToken(good), rowsWith({ [SESSION_ROW]: { kind: 'session' } })],
    ['a session’s record in place of a cookie’s', withCookie(COOKIE), rowsWith({ [COOKIE_ROW]: session() })],
  ])('%s', async (_name, what, rows) => {
    expect(await verify(what, rows)).toBe('absent')
  })

  test('a token that has expired, or whose session has', async () => {
    const old = await ring.current.sign(claims(), { ...KIND, now: Date.now() - HOUR })
    expect(await verify(withToken(old))).toBe('absent')
    const over = await ring.current.sign(claims({ session_expires_at: Math.floor(Date.now() / 1000) - 1 }), KIND)
    expect(await verify(withToken(over))).toBe('absent')
  })
})

describe('rejected', () => {
  const rejects = async (what: Presented) => expect(await verify(what)).toBe('AUTH_REJECTED')
  const header = { alg: 'ES256', typ: 'at+jwt', kid }

  test('row 1: alg none, in every spelling', async () => {
    for (const alg of ['none', 'None', 'nOnE', 'NONE', ''])
      for (const signature of ['', good.split('.')[2] ?? ''])
        await rejects(withToken(`${b64({ ...header, alg })}.${goodPayload}.${signature}`))
    expect(await verify(withToken(good))).toMatchObject(ANN)
  })

  test('row 2: HS256 with the public key as the secret', async () => {
    const key = createPublicKey({ key: jwk as never, format: 'jwk' })
    const pem = key.export({ type: 'spki', format: 'pem' }).toString()
    const secrets = [pem, pem.trim(), `\ufeff${pem}`, JSON.stringify(jwk), key.export({ type: 'spki', format: 'der' })]
    for (const secret of secrets) {
      const signed = `${b64({ ...header, alg: 'HS256' })}.${goodPayload}`
      await rejects(withToken(`${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`))
    }
  })

  test('row 3: a key or an address in the header: nothing is fetched', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const own = publicKey.export({ format: 'jwk' })
    for (const more of [
      { jwk: own },
      { jku: 'https://evil.example/jwks' },
      { x5u: 'https://evil.example/x' },
      { x5c: ['MII'] },
    ]) {
      const signed = `${b64({ ...header, ...more })}.${goodPayload}`
      const signature = sign('sha256', Buffer.from(signed), { key: privateKey, dsaEncoding: 'ieee-p1363' })
      const { outcome, asked } = await ask(withToken(`${signed}.${signature.toString('base64url')}`))
      expect([outcome, asked]).toEqual(['AUTH_REJECTED', []])
    }
  })

  test('rows 4 and 22: a kid of any kind looks nothing up but the team’s keys', async () => {
    const odd = [
      '../../../dev/null',
      "' OR 1=1--",
      '__proto__',
      'constructor',
      'x'.repeat(2 ** 20),
      7,
      null,
      {},
      'unknown',
    ]
    for (const one of odd) {
      const { outcome, asked } = await ask(
        withToken(`${b64({ ...header, kid: one })}.${goodPayload}.${good.split('.')[2]}`),
      )
      expect([outcome, asked]).toEqual(['AUTH_REJECTED', []])
    }
  })

  test('row 6: a payload that is none, or without its times', async () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    for (const payload of ['[]', '"x"', '7', 'null', '{"exp":"9e9"}', '{}']) {
      const signed = `${b64(header)}.${b64(payload)}`
      const signature = sign('sha256', Buffer.from(signed), { key: privateKey, dsaEncoding: 'ieee-p1363' })
      await rejects(withToken(`${signed}.${signature.toString('base64url')}`))
    }
  })

  test('rows 8 and 9: another serialisation, members twice, an encrypted token', async () => {
    const [head = '', , tail = ''] = good.split('.')
    const json = JSON.stringify({ payload: goodPayload, signatures: [{ protected: head, signature: tail }] })
    const twice = b64(`{"alg":"none","alg":"ES256","typ":"at+jwt","kid":"${kid}"}`)
    const jwe = `${b64({ alg: 'PBES2-HS256+A128KW', enc: 'A128GCM', p2c: 2 ** 31, zip: 'DEF' })}.a.b.c.d`
    for (const token of [json, `${twice}.${goodPayload}.${tail}`, `${head}..${tail}`, jwe, '', 'x'.repeat(100_000)])
      await rejects(withToken(token))
  })

  test('row 10: another application’s token or cookie; another port is another application', async () => {
    await rejects(withToken(good, 'other.example.com:8443'))
    await rejects(withToken(good, 'app.example.com'))
    await rejects(withCookie(COOKIE, 'other.example.com:8443'))
    const at443 = await ring.current.sign(claims(), { ...KIND, audience: 'https://app.example.com' })
    expect(await verify(withToken(at443, 'app.example.com:443'))).toMatchObject(ANN)
    expect(await verify(withToken(at443, 'app.example.com'))).toMatchObject(ANN)
  })

  test('row 11: tokens of every other kind that the same keys sign', async () => {
    for (const typ of ['JWT', 'postern-identity+jwt', 'id_token+jwt', 'AT+JWT', 'application/at+jwt'])
      await rejects(withToken(await ring.current.sign(claims(), { ...KIND, typ })))
    const other = KeyRing.create()
    await rejects(withToken(await other.sign(claims(), KIND)))
    await rejects(withToken(COOKIE))
    await rejects(withCookie(good))
  })

  test('row 12: another issuer, be it by a slash; somebody else’s session', async () => {
    for (const issuer of [`${TEAM}/`, TEAM.toUpperCase(), 'https://idp.example.com'])
      await rejects(withToken(await ring.current.sign(claims(), { ...KIND, issuer })))
    for (const more of [
      { sub: 'bob' },
      { idp: `${ANN.issuer}/` },
      { sid: 'x' },
      { sid: `cookie.${SID}` },
      { session_expires_at: '9e9' },
    ])
      await rejects(withToken(await ring.current.sign(claims(more), KIND)))
  })

  test('a cookie that was altered, or has another form', async () => {
    const secret = COOKIE.slice(25)
    for (const value of [
      '',
      'x',
      secret,
      `${COOKIE}.`,
      `"${COOKIE}"`,
      COOKIE.replace(/S$/, 'T'),
      `__proto__.${secret}`,
    ])
      await rejects(withCookie(value))
  })
})

test('twice is BAD_USAGE, whatever of it is good', async () => {
  const one = `__Host-postern-session=${COOKIE}`
  for (const headers of [
    { cookie: `${one}; ${one}` },
    { cookie: [one, '__Host-postern-session=x'] },
    { 'postern-access-token': [good, 'x'] },
    { cookie: one, 'postern-access-token': good },
    { 'postern-access-token': good, authorization: `Bearer ${good}` },
  ])
    expect(await verify(presented(headers))).toBe('BAD_USAGE')
})

test('rows 23 and 24: a key that was rotated out verifies, one that was removed does not', async () => {
  const before = ring.current
  ring.current = before.rotate()
  expect(await verify(withToken(good))).toMatchObject(ANN)
  expect(await verify(withToken(await ring.current.sign(claims(), KIND)))).toMatchObject(ANN)
  ring.current = ring.current.remove(kid)
  expect(await verify(withToken(good))).toBe('AUTH_REJECTED')
  ring.current = before
  expect(await verify(withToken(good))).toMatchObject(ANN)
})

test('no secret reaches the log', () => {
  for (const secret of [COOKIE.slice(25), good.split('.')[2] ?? '', APP]) expect(logged.join()).not.toContain(secret)
})
