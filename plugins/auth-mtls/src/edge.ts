import {
  type AuthVerifier,
  type Call,
  type Code,
  definePlugin,
  type Identity,
  type Json,
  PosternError,
  type Presented,
  type Records,
} from '@postern/interface'
import { AUTHORITY_ROWS, type Authority, authorityOf } from './authorities.ts'
import { readRevocationList } from './revocation.ts'
import { readShown, type Shown } from './shown.ts'

/**
 * Says whose a client certificate is. Whether it is good for the hostname was OpenSSL's to say, at the handshake, and is said with
 * what is presented; what may have changed since is looked at here, each time.
 */
export default definePlugin({
  kind: 'auth',
  side: 'edge',
  name: 'mtls',
  options: {},
  create: (_options, { records }): AuthVerifier => {
    const said = new Map<string, number>()
    return {
      async verify(presented, call) {
        call.signal.throwIfAborted()
        const { peerCertificate, peerCertificateChain: chain = [] } = presented
        const ca = chain.at(-1)
        // Of a CA that means nothing for this hostname: as if none had been shown.
        if (peerCertificate === undefined || ca === undefined) return undefined
        const rows = await records.list(AUTHORITY_ROWS)
        call.signal.throwIfAborted()
        const authority = authorityOf(ca, rows)
        if (authority === undefined) return undefined
        refuseWhatOpenSslRefused(presented)
        const shown = readShown(peerCertificate, chain)
        refuseOutsideItsTime(shown, Date.now())
        await refuseRevoked(shown, authority, records, call, said)
        const holder = holderIn(await records.get(`issued.${authority.id}.${shown.leaf.serial}`))
        call.signal.throwIfAborted()
        return { identity: identityOf(shown, authority, holder) }
      },
    }
  },
})

/** What OpenSSL calls a certificate that is not good now; everything else is wrong with it for good. */
const CODES: ReadonlyMap<string, Code> = new Map([
  ['CERT_HAS_EXPIRED', 'CERTIFICATE_EXPIRED'],
  ['CERT_NOT_YET_VALID', 'CERTIFICATE_EXPIRED'],
  ['CERT_REVOKED', 'CERTIFICATE_REVOKED'],
])

function refuseWhatOpenSslRefused({ peerCertificateError: error }: Presented): void {
  if (error === undefined) return
  throw new PosternError(CODES.get(error) ?? 'CERTIFICATE_REJECTED', `the client certificate is not good (${error})`)
}

/** A connection may last longer than what it was made with. */
function refuseOutsideItsTime({ notBefore, notAfter }: Shown, now: number): void {
  if (notBefore <= now && now < notAfter) return
  throw new PosternError('CERTIFICATE_EXPIRED', 'the client certificate, or one above it, is not valid now')
}

/** Milliseconds between two words about one CA: whoever keeps asking fills no log. */
const SAY_INTERVAL = 60_000

/** @param said when it was last said of a CA, by its id, that its list has ended */
async function refuseRevoked(
  shown: Shown,
  { id, name }: Authority,
  records: Records,
  call: Call,
  said: Map<string, number>,
): Promise<void> {
  const row = await records.get(`crl.${id}`)
  call.signal.throwIfAborted()
  const list = row === undefined ? undefined : readRevocationList(row)
  if (row !== undefined && !(list !== undefined && Date.now() < list.nextUpdate)) {
    const now = Date.now()
    if (now - (said.get(id) ?? 0) >= SAY_INTERVAL) {
      said.set(id, now)
      call.log.error('the revocation list of a CA has ended, so nobody is let in by its certificates', { ca: name })
    }
    throw new PosternError('CERTIFICATE_REJECTED', 'it is not known what the CA has revoked since')
  }
  // A CA's list names what the CA itself issued: the certificate right below it.
  let isRevoked = list?.serials.has(shown.serials.at(-1) ?? '') === true
  for (const serial of shown.serials) isRevoked ||= (await records.get(`revoked.${id}.${serial}`)) !== undefined
  if (isRevoked) throw new PosternError('CERTIFICATE_REVOKED', 'the client certificate was revoked')
}

/** Who asked for it, where it was issued here: their end is the certificate's. */
function holderIn(issued: Json | undefined): string | undefined {
  const { holder } = (isRecord(issued) ? issued : {}) as { readonly holder?: Json }
  if (!isRecord(holder)) return undefined
  const { issuer, subject } = holder
  return typeof issuer === 'string' && typeof subject === 'string' ? `user:${issuer} ${subject}` : undefined
}

function identityOf({ leaf, serials, notAfter }: Shown, authority: Authority, holder: string | undefined): Identity {
  const { commonName, san, issuer, serial, fingerprint } = leaf
  const [first] = san
  const who = first === undefined ? `sha256:${fingerprint}` : `${first.type}:${first.value}`
  const named = (type: (typeof san)[number]['type']) => san.filter(one => one.type === type).map(({ value }) => value)
  const { id, name } = authority
  return {
    kind: 'certificate',
    issuer: 'postern:mtls',
    subject: `${name}/${who}`,
    claims: {
      ca: name,
      fingerprint,
      serial,
      issuer,
      ...(commonName !== undefined && { commonName }),
      san: { dns: named('dns'), email: named('email'), uri: named('uri'), ip: named('ip') },
    },
    expiresAt: notAfter,
    revokeKeys: [
      ...serials.map(one => `certificate:${id}:${one}`),
      `certificate-authority:${id}`,
      `certificate-authority:${id}:${authority.fingerprint}`,
      ...(holder === undefined ? [] : [holder]),
    ],
  }
}

function isRecord(value: Json | undefined): value is { readonly [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
