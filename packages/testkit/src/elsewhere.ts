import { createPrivateKey, type KeyObject, sign, X509Certificate } from 'node:crypto'
import { createAuthority, createCertificateRequest, makeKey } from '@postern/pki'

/** A CA that is elsewhere: its key is known, and it lists what it revoked. */
export interface ElsewhereAuthority {
  readonly cert: string
  readonly key: string
  /** PEM. */
  revocationList(serials: readonly string[], more?: ListFacts): string
}

export interface ListFacts {
  readonly number?: number
  /** Milliseconds since the epoch; default now, and a day from now. */
  readonly thisUpdate?: number
  readonly nextUpdate?: number
}

export async function elsewhere(commonName: string): Promise<ElsewhereAuthority> {
  const made = await createAuthority({ commonName, days: 30 })
  return { ...made, revocationList: (serials, more = {}) => revocationList(made, serials, more) }
}

/** A request by a new key, and that key. */
export async function certificateRequest(commonName = 'me'): Promise<{ readonly csr: string; readonly key: string }> {
  const key = await makeKey()
  return { csr: await createCertificateRequest(key, { commonName }), key }
}

/** No library here makes lists (RFC 5280 §5.1): written by hand. */
function revocationList(
  { cert, key }: { readonly cert: string; readonly key: string },
  serials: readonly string[],
  { number = 1, thisUpdate = Date.now() - 1000, nextUpdate = Date.now() + 86_400_000 }: ListFacts,
): string {
  const algorithm = seq(hex(0x06, '2a8648ce3d040302'))
  const entries = serials.map(serial => seq(integer(serial), time(thisUpdate)))
  const listNumber = seq(hex(0x06, '551d14'), der(0x04, integer(number.toString(16))))
  const body = seq(
    integer('01'),
    algorithm,
    subjectOf(cert),
    time(thisUpdate),
    time(nextUpdate),
    ...(entries.length > 0 ? [seq(...entries)] : []),
    der(0xa0, seq(listNumber)),
  )
  const signer: KeyObject = createPrivateKey(key)
  const list = seq(body, algorithm, der(0x03, Buffer.from([0]), sign('sha256', body, signer)))
  return `-----BEGIN X509 CRL-----\n${list.toString('base64')}\n-----END X509 CRL-----\n`
}

function der(tag: number, ...content: readonly Uint8Array[]): Buffer {
  const value = Buffer.concat(content)
  const digits = value.length.toString(16)
  const size = Buffer.from(digits.length % 2 ? `0${digits}` : digits, 'hex')
  return Buffer.concat([
    Buffer.from(value.length < 128 ? [tag, value.length] : [tag, 0x80 + size.length, ...size]),
    value,
  ])
}

const seq = (...content: readonly Uint8Array[]): Buffer => der(0x30, ...content)
const hex = (tag: number, value: string): Buffer => der(tag, Buffer.from(value, 'hex'))

function integer(value: string): Buffer {
  const even = value.length % 2 ? `0${value}` : value
  return hex(0x02, Number.parseInt(even.slice(0, 2), 16) > 0x7f ? `00${even}` : even)
}

function time(at: number): Buffer {
  return der(0x17, Buffer.from(`${new Date(at).toISOString().replace(/[-:T]/g, '').slice(2, 14)}Z`))
}

/** The name of one with a common name alone, as `createAuthority` makes them. */
function subjectOf(cert: string): Buffer {
  const commonName = new X509Certificate(cert).subject.replace(/^CN=/, '')
  return seq(der(0x31, seq(hex(0x06, '550403'), der(0x0c, Buffer.from(commonName)))))
}
