import assert from 'node:assert/strict'
import { CODES, type Code, factsOf, PosternError, problem } from '@postern/interface'
import { type Case, testCase } from '../case.ts'
import { leafOf } from '../certificates.ts'
import { eventually, rejection, rejectsWith, within } from '../expect.ts'
import { HOSTNAME, TEAM_DOMAIN } from '../hosts.ts'
import { type TransportRig, type TransportSubject, withRig } from './rig.ts'

/** What the edge is told, and what it answers: all of it, as it was said. */
export function arrivingCases(subject: TransportSubject): readonly Case[] {
  return [
    testCase('hostname and purpose arrive', call =>
      withRig(subject, call, {}, async rig => {
        for (const [host, purpose] of [
          [HOSTNAME, 'session'],
          [TEAM_DOMAIN, 'connector'],
        ] as const) {
          const { incoming } = await rig.pair({ host, purpose })
          assert.equal(incoming.purpose, purpose)
          // The edge's port may follow, as HTTP would have it.
          const port = rig.door.url.port
          assert.ok([host, `${host}:${port}`].includes(incoming.host), `the host is ${incoming.host}, wanted ${host}`)
        }
      }),
    ),
    testCase('headers arrive intact, with every value of one sent twice', call =>
      withRig(subject, call, {}, headersArrive),
    ),
    testCase('what was presented is plain data', call =>
      withRig(subject, call, {}, async rig => {
        const { presented } = (await rig.pair({ headers: { 'x-postern-test': 'here' } })).incoming
        assert.deepEqual(structuredClone(presented), presented, 'it must survive being posted to a worker')
        assert.ok(presented.url.startsWith('/'), `the URL must be a path, as sent: ${presented.url}`)
        assert.match(presented.method, /^[A-Z]+$/)
        assert.match(presented.remoteAddress, /127\.0\.0\.1$/)
        assert.equal(presented.peerCertificate, undefined, 'no certificate was shown')
      }),
    ),
    testCase('a credential that signs each request is asked, and its headers arrive', call =>
      withRig(subject, call, {}, async rig => {
        const asked: { method: string; host: string }[] = []
        const { incoming } = await rig.pair({
          credential: {
            headers: async ({ method, url }) => {
              asked.push({ method, host: url.hostname })
              return { 'x-signature': `${method} ${url.pathname}` }
            },
          },
        })
        const { method, url, headers } = incoming.presented
        assert.equal(asked.length, 1, 'the credential is asked once a dial')
        assert.deepEqual(asked[0], { method, host: HOSTNAME }, 'it signs what is really sent, to the host it is for')
        assert.deepEqual(headers['x-signature'], [`${method} ${url.split('?')[0]}`])
      }),
    ),
    testCase('the answer’s headers arrive', call =>
      withRig(subject, call, {}, async rig => {
        const application = JSON.stringify({ hostname: HOSTNAME, protocols: ['ssh', 'tcp'] })
        const { answer } = await rig.pair({}, { 'Postern-Application': application, 'x-many': ['one', 'two'] })
        assert.deepEqual(answer['postern-application'], [application])
        assert.deepEqual(answer['x-many']?.join(', '), 'one, two')
      }),
    ),
    testCase('the client certificate of the socket arrives, and only that', call =>
      withRig(subject, call, { tls: true }, async rig => {
        const certificate = rig.authority!.issue({ commonName: 'device-1' })
        const { incoming } = await rig.pair({ credential: { tls: certificate } })
        assert.deepEqual(incoming.presented.peerCertificate, leafOf(certificate.cert), 'DER of the proved leaf')
        const without = await rig.pair({ headers: { 'x-client-cert': certificate.cert.replaceAll('\n', '') } })
        assert.equal(without.incoming.presented.peerCertificate, undefined, 'a header is not a certificate')
      }),
    ),
    testCase('https asks for TLS and http does not', call =>
      withRig(subject, call, {}, async rig => {
        const asked = await securingOf(rig)
        assert.equal(asked, undefined, 'http: must not ask for TLS')
        await withRig(subject, call, { tls: true }, async secure => {
          const securing = await securingOf(secure)
          assert.ok(securing && Array.isArray(securing.alpn), 'https: must ask for TLS, and say its ALPN protocols')
        })
      }),
    ),
    testCase('refusals arrive: status, code, request id and text', call =>
      withRig(subject, call, {}, async rig => {
        for (const code of REFUSALS) await refusalArrives(rig, code)
        await eventually(() => rig.door.connections === 0, 'a refused connection must be closed')
      }),
    ),
    testCase('a refusal’s challenge arrives', call =>
      withRig(subject, call, {}, async rig => {
        const challenge = ['Negotiate', 'Basic realm="postern"']
        const refused = rejectsWith(rig.dial(), ['LOGIN_REQUIRED'], 'a dial that was refused')
        await (await rig.next()).reject(problem('LOGIN_REQUIRED', 'r-1'), { 'WWW-Authenticate': challenge })
        const headers = (await refused).refusal?.headers ?? {}
        assert.equal(headers['www-authenticate']?.join(', '), challenge.join(', '))
      }),
    ),
    testCase('when the edge’s own code throws, the dial fails and the edge lives', call =>
      withRig(subject, call, {}, async rig => {
        rig.onIncoming(async () => {
          throw new Error('the kit’s edge throws')
        })
        const error = await rejection(rig.dial(), 'a dial that the edge failed')
        assert.ok(PosternError.is(error), `must be a PosternError: ${String(error)}`)
        assert.ok(!error.message.includes('the kit’s edge throws'), 'what the edge threw is not for strangers’ eyes')
        rig.onIncoming(async incoming => void (await incoming.accept()).on('error', () => {}))
        await within(rig.dial(), 'the next dial must succeed')
      }),
    ),
  ]
}

/** Every code that the edge can say over HTTP. */
const REFUSALS = (Object.keys(CODES) as Code[]).filter(code => factsOf(code).status !== undefined)

async function refusalArrives(rig: TransportRig, code: Code): Promise<void> {
  const sent = problem(code, `request-${code}`, { speaker: 'edge', detail: `told of ${code}: "quoted"` })
  const refused = rejectsWith(rig.dial(), [code], `a dial refused with ${code}`)
  const incoming = await rig.next()
  await within(incoming.reject(sent), `reject() must resolve for ${code}`)
  const error = await refused
  assert.equal(error.requestId, sent.requestId, `${code}: the request id`)
  assert.equal(error.message, sent.detail, `${code}: what the edge said`)
  assert.equal(error.next, sent.next, `${code}: what to do`)
  assert.equal(error.refusal?.status, sent.status, `${code}: error.refusal.status`)
}

async function headersArrive(rig: TransportRig): Promise<void> {
  const visible = Array.from({ length: 94 }, (_, at) => String.fromCharCode(33 + at)).join('')
  const { incoming } = await rig.pair({
    headers: { 'X-Request': 'r-7', 'x-visible': visible, 'x-long': 'v'.repeat(4096), 'x-empty': '' },
    credential: { headers: { 'X-Twice': ['one', 'two'], authorization: 'Bearer abc.def-ghi_jkl~' } },
  })
  const { headers } = incoming.presented
  for (const [name, values] of Object.entries({
    'x-request': ['r-7'],
    'x-visible': [visible],
    'x-long': ['v'.repeat(4096)],
    'x-empty': [''],
    'x-twice': ['one', 'two'],
    authorization: ['Bearer abc.def-ghi_jkl~'],
  })) {
    assert.deepEqual(headers[name], values, `the header ${name}`)
  }
  const names = Object.keys(headers)
  assert.deepEqual(
    names,
    names.map(name => name.toLowerCase()),
    'names must be in lower case',
  )
}

async function securingOf(rig: TransportRig): Promise<{ readonly alpn: readonly string[] } | undefined> {
  const { request, connecting } = rig.request()
  rig.onIncoming(async incoming => void (await incoming.accept()).on('error', () => {}))
  const { pipe } = await within(rig.transport.dial(request, rig.call), 'dial()')
  pipe.on('error', () => {}).destroy()
  assert.equal(connecting.asked.length, 1, 'one dial asks for one connection')
  return connecting.asked[0]
}
