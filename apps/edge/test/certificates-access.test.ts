import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { Agent, request } from 'node:https'
import { testAuthority as kitAuthority } from '@postern/compliance'
import type { Rule } from '@postern/policy'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { askOver, authorityOf, type Pair, reach, type TestAuthority } from './certificate-world.ts'
import { type Got, type HttpWorld, person, startHttpWorld } from './http-world.ts'

// The table "How credentials compose", row by row, through the door and to an origin that counts.

let app: HttpWorld
let staff: TestAuthority
let ann: Pair
let seen: Record<string, string | string[] | undefined>[] = []
const old = kitAuthority('Old CA')
const ago = (hours: number) => Date.now() - hours * 3_600_000
const expired = old.issue({ commonName: 'old', notBefore: ago(3), notAfter: ago(2) })

beforeAll(async () => {
  app = await startHttpWorld({
    listener: (incoming, response) => {
      seen.push(incoming.headers)
      if (incoming.url === '/stay') response.write('here')
      else response.end('in')
    },
  })
  staff = await authorityOf('Staff CA')
  ann = await staff.issue('Ann', { san: [{ type: 'email', value: 'ann@example.com' }] })
  await administration().call('ca.import', { body: { name: 'staff', certificates: staff.cert } } as never)
  await administration().call('ca.import', { body: { name: 'old', certificates: old.ca } } as never)
})
afterAll(() => app[Symbol.asyncDispose]())
beforeEach(() => {
  seen = []
})

const administration = () => app.world.edge.administration
const ANY: Rule['include'][number] = { certificate: { ca: 'staff' } }
const OLD: Rule['include'][number] = { certificate: { ca: 'old' } }
const rule = (one: Partial<Rule>): Rule => ({ name: 'r', action: 'allow', include: [], ...one })
const ruled = (...rules: Rule[]) =>
  administration().call('policy.put', { params: { hostname: app.host }, body: { rules } } as never)
const token = () => ({ serviceToken: app.world.token.id })

interface Visit {
  readonly pair?: Pair | undefined
  readonly headers?: Record<string, string | string[]>
  readonly path?: string
}

/** A connection of its own, since each shows another certificate. */
function visit({
  pair,
  headers = {},
  path = '/',
}: Visit = {}): Promise<Pick<Got, 'status' | 'code' | 'headers' | 'body'>> {
  const { port } = app.world.edge
  return new Promise((resolve, reject) => {
    const agent = new Agent({ maxCachedSessions: 0 })
    const asked = request({
      agent,
      host: '127.0.0.1',
      servername: app.host,
      port,
      path,
      rejectUnauthorized: false,
      ...pair,
      headers: { host: `${app.host}:${port}`, ...headers },
    })
    asked.on('error', reject)
    asked.on('response', answer => {
      let body = ''
      answer.setEncoding('utf8').on('data', more => (body += more))
      answer.on('end', () => {
        const { statusCode: status = 0, headers: got } = answer
        const code = got['content-type'] === 'application/problem+json' ? JSON.parse(body).code : undefined
        resolve({ status, headers: got, body, code })
      })
    })
    asked.end()
  })
}

const connections = () => app.origin.tap.connections
/** Nothing of it reaches the origin, and what differs in nothing but what is right does. */
async function denied(wanted: object, wrong: Visit, right: Visit): Promise<void> {
  const before = [connections(), seen.length]
  expect(await visit(wrong)).toMatchObject(wanted)
  expect([connections(), seen.length]).toEqual(before)
  expect(await visit(right)).toMatchObject({ status: 200, body: 'in' })
  expect(seen.length).toBe((before[1] ?? 0) + 1)
}

describe('how credentials compose', () => {
  const LOGIN = { status: 401, code: 'LOGIN_REQUIRED' }

  test('a certificate of a CA that is named is somebody; none is nobody', async () => {
    await ruled(rule({ include: [ANY] }))
    await denied(LOGIN, {}, { pair: ann })
    await ruled(rule({ include: [{ certificate: { email: 'ANN@example.com', commonName: 'Ann' } }] }))
    await denied({ status: 403, code: 'ACCESS_DENIED' }, { pair: await staff.issue('Ann') }, { pair: ann })
  })

  test('of a CA that no rule of this application names: as if absent', async () => {
    await ruled(rule({ include: [ANY, token()] }))
    const other = await (await authorityOf('Staff CA')).issue('Ann')
    await denied(LOGIN, { pair: other }, { pair: ann })
    await denied(LOGIN, { pair: expired }, { pair: ann })
    // It takes nothing from what else was shown.
    await denied(LOGIN, { pair: other }, { pair: other, headers: app.credential })
  })

  test('of a CA that is named, and expired, for another use, or revoked: 403, whatever else is there', async () => {
    await ruled(rule({ include: [ANY, OLD, token()] }))
    const ofServer = await staff.issue('Ann', { usage: 'server' })
    const headers = app.credential
    await denied({ status: 403, code: 'CERTIFICATE_EXPIRED' }, { pair: expired, headers }, { headers })
    await denied({ status: 403, code: 'CERTIFICATE_REJECTED' }, { pair: ofServer, headers }, { headers })
    const gone = await staff.issue('Gone')
    await denied(LOGIN, {}, { pair: gone })
    await revoke(gone)
    await denied({ status: 403, code: 'CERTIFICATE_REVOKED' }, { pair: gone, headers }, { pair: ann, headers })
    const rows = await administration().call('audit.list', { query: { action: 'access.decide' } })
    expect(rows.rows.find(({ code }) => code === 'CERTIFICATE_REVOKED')).toMatchObject({
      detail: { decision: { verifier: 'mtls', certificate: expect.stringMatching(/^[0-9a-f]{64}$/) } },
    })
  })

  test('a bad service token is 401, a header twice 400, whatever certificate is there', async () => {
    await ruled(rule({ include: [ANY, token()] }))
    const [id = ''] = Object.keys(app.credential)
    const wrong = { ...app.credential, 'postern-client-secret': 'psts_wrong' }
    await denied({ status: 401, code: 'AUTH_REJECTED' }, { pair: ann, headers: wrong }, { pair: ann })
    const twice = { ...app.credential, [id]: [app.credential[id] ?? '', app.credential[id] ?? ''] }
    await denied({ status: 400, code: 'BAD_USAGE' }, { pair: ann, headers: twice }, { pair: ann })
  })

  test('our cookie, unknown, beside a good certificate: as if absent', async () => {
    await ruled(rule({ include: [ANY] }))
    const { headers, leave } = await person(app)
    await leave()
    await ruled(rule({ include: [ANY, { everyone: true }] }))
    await denied(LOGIN, { headers }, { headers, pair: ann })
  })

  test('service token and certificate, both good: both, for a rule that requires both', async () => {
    await ruled(rule({ include: [token()], require: [ANY] }))
    const headers = app.credential
    const no = { status: 403, code: 'ACCESS_DENIED' }
    await denied(no, { headers }, { headers, pair: ann })
    await denied(no, { pair: ann }, { headers, pair: ann })
    await denied(LOGIN, {}, { headers, pair: ann })
  })

  test('a person and a certificate, for a rule that requires both; a browser with the certificate is sent to sign in', async () => {
    const { headers } = await person(app)
    const email = administrationEmail()
    await ruled(rule({ include: [{ email }], require: [ANY] }))
    const browser = { accept: 'text/html' }
    await denied({ status: 403, code: 'ACCESS_DENIED' }, { headers }, { headers, pair: ann })
    await denied(LOGIN, { pair: ann }, { headers, pair: ann })
    await denied({ status: 303 }, { pair: ann, headers: browser }, { headers, pair: ann })
    // Who has no certificate is not let in by signing in, and not sent there.
    await denied({ status: 401 }, { headers: browser }, { headers, pair: ann })
  })

  /** Of the person that was made last. */
  const administrationEmail = (): string => {
    const [one] = app.world.edge.store.snapshot.applications.get(app.host)?.rules ?? []
    const found = one?.include.find(selector => 'email' in selector)
    return found !== undefined && 'email' in found ? found.email : ''
  }
})

describe('row 88: who says what the certificate is', () => {
  const der = (pair: Pair) => pair.cert.replace(/-----[^-]+-----|\s/g, '')

  test('the edge does, of the one that was let in, and of nobody else', async () => {
    await ruled(rule({ include: [ANY, token()] }))
    await visit({ pair: ann })
    await visit({ headers: app.credential })
    const other = await (await authorityOf('Staff CA')).issue('Ann')
    await visit({ pair: other, headers: app.credential })
    await ruled(rule({ include: [ANY] }), rule({ name: 'b', action: 'bypass', include: [{ path: ['/'] }] }))
    await visit({ pair: ann })
    expect(seen.map(headers => headers['client-cert'])).toEqual([`:${der(ann)}:`, undefined, undefined, undefined])
  })

  test.each([
    'Client-Cert',
    'client-cert-chain',
    'client_cert',
    'Client.Cert',
    'X-Client-Cert',
    'X-Client-Verify',
    'X-Forwarded-Client-Cert',
    'x_forwarded_client_cert',
    'X-Forwarded-Tls-Client-Cert',
    'X-SSL-Client-Verify',
    'x_ssl_client_verify',
    'X-SSL-Client-S-DN',
    'ssl-client-cert',
    'ssl_client_verify',
    'X-ARR-ClientCert',
    'X-Amzn-Mtls-Clientcert-Subject',
    'Cf-Client-Cert-Der-Base64',
    'WL-Proxy-Client-Cert',
    'Proxy-Client-Cert',
    '$WSCC',
    'SSLClientCertSubject',
    'X-SSL-Cert',
    'X_Ssl_Subject',
    'X-SSL-Issuer',
    'X-Forwarded-Ssl-Client-S-Dn',
  ])('nobody else says it: %s', async name => {
    await ruled(rule({ include: [ANY, token()] }))
    const no = { status: 400, code: 'BAD_USAGE' }
    const lie = { [name]: `:${der(ann)}:` }
    await denied(no, { headers: { ...app.credential, ...lie } }, { headers: app.credential })
    await denied(no, { pair: ann, headers: lie }, { pair: ann })
    await denied(no, { headers: lie }, { pair: ann })
    const upgrade = {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==',
    }
    await denied(no, { pair: ann, headers: { ...upgrade, ...lie } }, { pair: ann })
  })

  test('an application’s own names that only begin so pass', async () => {
    await ruled(rule({ include: [token()] }))
    const own = {
      'x-client-certainty': '1',
      'client-version': '2',
      'x-client-dns': '3',
      'x-ssl-clients': '4',
      'x-tls-version': '5',
    }
    expect(await visit({ headers: { ...app.credential, ...own } })).toMatchObject({ status: 200 })
    expect(seen[0]).toMatchObject(own)
  })
})

describe('row 67, row 87: what is open ends with the certificate', () => {
  const stay = async (pair: Pair) => {
    const { port } = app.world.edge
    const socket = await reach(port, app.host, pair)
    socket.write(`GET /stay HTTP/1.1\r\nHost: ${app.host}:${port}\r\n\r\n`)
    const [first] = (await once(socket, 'data')) as [Buffer]
    expect(first.toString()).toContain('200 OK')
    return { socket, closed: once(socket, 'close') }
  }
  const endsWith = async (pair: Pair, cause: () => Promise<unknown>) => {
    const [theirs, other] = [await stay(pair), await stay(ann)]
    await cause()
    await theirs.closed
    return other
  }

  test('revoked by its serial: it is cut, another one of the CA is not', async () => {
    await ruled(rule({ include: [ANY] }))
    const gone = await staff.issue('Gone')
    const other = await endsWith(gone, () => revoke(gone))
    expect(other.socket.destroyed).toBe(false)
    other.socket.destroy()
    await denied({ status: 403, code: 'CERTIFICATE_REVOKED' }, { pair: gone }, { pair: ann })
  })

  test('a connection that is kept open: each request is looked at anew', async () => {
    await ruled(rule({ include: [ANY] }))
    const gone = await staff.issue('Gone')
    const { port } = app.world.edge
    const kept = await reach(port, app.host, gone)
    const host = `${app.host}:${port}`
    expect(await askOver(kept, host)).toMatchObject({ status: 200 })
    const before = seen.length
    await revoke(gone)
    expect(await askOver(kept, host)).toMatchObject({ status: 403, code: 'CERTIFICATE_REVOKED' })
    expect(seen.length).toBe(before)
    kept.destroy()
    expect(await visit({ pair: ann })).toMatchObject({ status: 200 })
  })

  test('the revocation list of its CA ends', async () => {
    await ruled(rule({ include: [ANY, OLD] }))
    const own = old.issue({ commonName: 'own' })
    const store = app.world.edge.store
    const id = (await administration().call('ca.get', { params: { ca: 'old' } })).id
    const list = (nextUpdate: number) =>
      store.apply(
        [{ put: 'record', namespace: 'mtls', id: `crl.${id}`, value: { thisUpdate: 1, nextUpdate, serials: [] } }],
        { action: 'test', actor: 'test' },
      )
    await list(Date.now() + 60_000)
    const other = await endsWith(own, () => list(Date.now() + 500))
    expect(other.socket.destroyed).toBe(false)
    other.socket.destroy()
    await denied({ status: 403, code: 'CERTIFICATE_REJECTED' }, { pair: own }, { pair: ann })
  })

  test('no rule names its CA any more', async () => {
    await ruled(rule({ include: [ANY, OLD] }))
    const own = old.issue({ commonName: 'own' })
    await store().apply([{ delete: 'record', namespace: 'mtls', id: `crl.${await idOf('old')}` }], {
      action: 'test',
      actor: 'test',
    })
    const other = await endsWith(own, () => ruled(rule({ include: [ANY] })))
    expect(other.socket.destroyed).toBe(false)
    other.socket.destroy()
    await denied({ status: 401 }, { pair: own }, { pair: ann })
  })

  const store = () => app.world.edge.store
  const idOf = async (ca: string) => (await administration().call('ca.get', { params: { ca } })).id
})

async function revoke(pair: Pair): Promise<void> {
  const serial = new X509Certificate(pair.cert).serialNumber
  await administration().call('certificate.revoke', { params: { ca: 'staff' }, body: { serial } })
}
