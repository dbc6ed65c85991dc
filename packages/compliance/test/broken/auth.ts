// Credentials with one fault each, and the case that must notice.
import { X509Certificate } from 'node:crypto'
import { type AuthProvider, type AuthVerifier, type EdgeHost, PosternError, type Presented } from '@postern/interface'
import { authCases } from '../../src/index.ts'
import type { Broken } from '../expect-failure.ts'
import { authClient, authEdge, authenticate, client, edge, HEADER, identity, SEEDED, verify } from '../good/auth.ts'
import { believing, certificateKit, identityOf, verifyCertificate } from '../good/certificate.ts'

const CERTIFICATES: readonly Fault<AuthVerifier['verify']>[] = [
  [
    'does not ask what OpenSSL said',
    (presented, call) => verifyCertificate(believing(presented), call),
    'edge: a certificate that OpenSSL does not find good lets nobody in',
    /CERT_HAS_EXPIRED: was let in/,
  ],
  [
    'takes a certificate of any CA',
    async ({ peerCertificate: der }) => (der && der.length > 0 ? { identity: identityOf(der) } : undefined),
    'edge: a certificate of another CA lets nobody in',
    /without a chain: was let in/,
  ],
  [
    'believes a header',
    async (presented, call) => {
      const [, text] = /^:(.*):$/.exec(presented.headers['client-cert']?.[0] ?? '') ?? []
      return text ? { identity: identityOf(Buffer.from(text, 'base64')) } : verifyCertificate(presented, call)
    },
    'edge: a certificate in a header, or above the leaf, is nobody’s',
    /in the header client-cert: was let in/,
  ],
  [
    'takes whoever stands below the CA for the leaf',
    async (presented, call) => {
      const { peerCertificate: leaf, peerCertificateChain: chain = [] } = presented
      const peerCertificate = chain.at(-2) ?? leaf
      return verifyCertificate({ ...presented, ...(peerCertificate && { peerCertificate }) }, call)
    },
    'edge: a certificate in a header, or above the leaf, is nobody’s',
    /whose key was not proved/,
  ],
  [
    'falls over bytes that are no certificate',
    async (presented, call) => {
      if (presented.peerCertificate) new X509Certificate(presented.peerCertificate)
      return verifyCertificate(presented, call)
    },
    'edge: what is no certificate lets nobody in, and breaks nothing',
    /not a PosternError/,
  ],
]

type Fault<T> = readonly [fault: string, worse: T, fails: string, saying: RegExp]

const never = (): AbortSignal => new AbortController().signal

const CLIENTS: readonly Fault<(key: string) => AuthProvider['authenticate']>[] = [
  [
    'logs its secret',
    key => (request, call) => {
      call.log.debug(`asked with ${key}`)
      return authenticate(key)(request, call)
    },
    'client: secrets never reach the log, an error or the terminal',
    /reached the log/,
  ],
  [
    'tells its secret in an error',
    key => async request => {
      if (request.refused) throw new PosternError('AUTH_REJECTED', `the edge did not take ${key}`)
      return { headers: { [HEADER]: key } }
    },
    'client: secrets never reach the log, an error or the terminal',
    /reached an error/,
  ],
  [
    'prints its secret',
    key => async (request, call) => {
      console.log(key)
      return authenticate(key)(request, call)
    },
    'client: secrets never reach the log, an error or the terminal',
    /reached the terminal/,
  ],
  [
    'repeats what was refused',
    key => async (_request, call) => {
      call.signal.throwIfAborted()
      return { headers: { [HEADER]: key } }
    },
    'client: after a refusal it does not repeat itself',
    /for ever/,
  ],
  [
    'ignores an abort',
    key => (request, call) => authenticate(key)(request, { ...call, signal: never() }),
    'client: abort before: rejects with signal.reason',
    /should have failed/,
  ],
  [
    'sets a header of HTTP’s own',
    key => async () => ({ headers: { [HEADER]: key, Host: 'elsewhere' } }),
    'client: headers are valid, and none of HTTP’s own',
    /belongs to HTTP/,
  ],
  [
    'gives a header that cannot be sent',
    key => async () => ({ headers: { [HEADER]: `${key}\r\nx-injected: 1` } }),
    'client: headers are valid, and none of HTTP’s own',
    /cannot be sent/,
  ],
  [
    'throws something else',
    key => async (request, call) => {
      if (request.purpose !== 'access') throw new TypeError('no')
      return authenticate(key)(request, call)
    },
    'client: gives a credential for what it is for, and a typed refusal for what it is not',
    /must be a PosternError/,
  ],
]

const found = ({ headers }: Presented): string | undefined => headers[HEADER]?.[0]

const EDGES: readonly Fault<(host: EdgeHost) => AuthVerifier['verify']>[] = [
  [
    'accepts anything',
    () => async presented => {
      const key = found(presented)
      return key === undefined ? undefined : { identity: identity(key) }
    },
    'edge: refuses each of its headers when altered',
    /with one letter changed was accepted/,
  ],
  [
    'accepts anybody',
    () => async () => ({ identity: identity('somebody') }),
    'edge: says undefined when it was not presented',
    /out of nothing/,
  ],
  [
    'alters what was presented',
    host => async (presented, call) => {
      const verdict = await verify(host)(presented, call)
      delete (presented.headers as Record<string, unknown>)[HEADER]
      return verdict
    },
    'edge: leaves what was presented as it was',
    /./,
  ],
  [
    'takes the first of two',
    host => (presented, call) => {
      const values = presented.headers[HEADER]
      const first = values ? { ...presented.headers, [HEADER]: values.slice(0, 1) } : presented.headers
      return verify(host)({ ...presented, headers: first }, call)
    },
    'edge: refuses one of its headers sent twice, as BAD_USAGE',
    /sent twice/,
  ],
  [
    'tells strangers that a token has expired',
    host => async (presented, call) => {
      if (found(presented)?.startsWith('old')) throw new PosternError('TOKEN_EXPIRED', 'expired')
      return verify(host)(presented, call)
    },
    'edge: refuses a credential that is expired, by its code',
    /was told TOKEN_EXPIRED/,
  ],
  [
    'forgets revocation',
    host => {
      const get: EdgeHost['records']['get'] = async id => {
        const { revokedAt: _, ...rest } = (await host.records.get(id)) as { revokedAt?: number }
        return rest
      }
      return verify({ ...host, records: { ...host.records, get } })
    },
    'edge: refuses a credential that is revoked, by its code',
    /should have failed/,
  ],
  [
    'gives an identity that nobody can revoke',
    host => async (presented, call) => {
      const verdict = await verify(host)(presented, call)
      return verdict && 'identity' in verdict ? { identity: { ...verdict.identity, revokeKeys: [] } } : verdict
    },
    'edge: the identity has its shape, and is plain data',
    /nobody can end/,
  ],
  [
    'puts the secret into the identity',
    host => async (presented, call) => {
      const verdict = await verify(host)(presented, call)
      const claims = { key: found(presented) ?? '' }
      return verdict && 'identity' in verdict ? { identity: { ...verdict.identity, claims } } : verdict
    },
    'edge: the identity has its shape, and is plain data',
    /a secret is in the identity/,
  ],
  [
    'logs the secret',
    host => (presented, call) => {
      call.log.debug('presented', { key: found(presented) })
      return verify(host)(presented, call)
    },
    'edge: secrets never reach the log, an error or the terminal',
    /reached the log/,
  ],
  [
    'reads cookies',
    host => (presented, call) => {
      const cookie = presented.headers.cookie?.[0]?.replace(`${HEADER}=`, '')
      const headers = cookie ? { [HEADER]: [cookie] } : presented.headers
      return verify(host)({ ...presented, headers }, call)
    },
    'edge: is found in its headers only, not in the URL and not in a cookie',
    /in a cookie: was let in/,
  ],
  [
    'lets in when its records fail',
    host => async (presented, call) => {
      try {
        return await verify(host)(presented, call)
      } catch (error) {
        if (PosternError.is(error)) throw error
        return { identity: identity('good') }
      }
    },
    'edge: records that fail or lie let nobody in',
    /must throw/,
  ],
  [
    'breaks on hostile values',
    host => (presented, call) => {
      decodeURIComponent(found(presented) ?? '')
      new URL(`https://x/${encodeURIComponent(found(presented) ?? '')}`)
      return verify(host)(presented, call)
    },
    'edge: hostile values let nobody in, and break nothing',
    /not a PosternError|URIError|URI malformed/,
  ],
  [
    'ignores an abort',
    host => (presented, call) => verify(host)(presented, { ...call, signal: never() }),
    'edge: abort while its records are read: rejects with signal.reason',
    /should have failed/,
  ],
]

export const BROKEN_AUTH: readonly Broken[] = [
  ...CLIENTS.map(([fault, worse, fails, saying]) => {
    const cases = authCases({ ...SEEDED, client: authClient(worse), edge })
    return { fault: `(client side) ${fault}`, fails, saying, cases }
  }),
  ...EDGES.map(([fault, worse, fails, saying]) => {
    const cases = authCases({ ...SEEDED, client, edge: authEdge(worse) })
    return { fault: `(edge side) ${fault}`, fails, saying, cases }
  }),
  ...CERTIFICATES.map(([fault, worse, fails, saying]) => {
    return { fault: `(a certificate) ${fault}`, fails, saying, cases: authCases(certificateKit(worse)) }
  }),
]
