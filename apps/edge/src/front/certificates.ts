import { constants, createPrivateKey, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createSecureContext, type SecureContext, type TlsOptions } from 'node:tls'
import { type Call, PosternError } from '@postern/interface'
import { readSecretFile } from '@postern/options'
import { Contexts, type Made } from './contexts.ts'
import type { DevCa } from './devca.ts'
import { Expiry } from './expiry.ts'
import type { CertificateRule } from './handshake.ts'
import { isHostname } from './hostname.ts'

/** How the front proves its hostnames. */
export interface Certificates {
  readonly server: TlsOptions
  /** For a hostname whose visitors are asked for a certificate: how it proves itself, and the CAs that theirs may be of. */
  readonly asking: (hostname: string, rule: CertificateRule) => Promise<SecureContext>
  /**
   * Own files: reads them again. What to serve from now on, or undefined when it is what was read last.
   * @throws PosternError as {@link certificatesOfFiles}
   */
  readonly read?: () => Promise<TlsOptions | undefined>
}

/** AES-128 first: end to end the bytes are encrypted twice, and it costs a third less. */
const CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
].join(':')

const COMMON: TlsOptions = {
  minVersion: 'TLSv1.2',
  ciphers: CIPHERS,
  honorCipherOrder: true,
  // What a connection was made under holds until it ends.
  secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
}

/**
 * Options for a server that asks for certificates. A session that is resumed is what it was judged then, without a proof of the
 * key and whatever became of the CA: there is none. Nobody is good by these alone, and least of all by Node's own CAs.
 */
export const ASKING: TlsOptions = {
  requestCert: true,
  rejectUnauthorized: false,
  ca: [],
  secureOptions: constants.SSL_OP_NO_RENEGOTIATION | constants.SSL_OP_NO_TICKET,
}

/**
 * One certificate, of files, for every hostname.
 *
 * @throws PosternError FILE_UNREADABLE, FILE_UNSAFE, CONFIG_INVALID: not PEM, or not a pair
 */
export async function certificatesOfFiles(files: Files, call: Call): Promise<Certificates> {
  const expiry = new Expiry(files.cert, call.log)
  const readNow = async () => {
    const found = await readFiles(files, call)
    expiry.look(found.leaf)
    return found.server
  }
  let last = await readNow()
  let contexts = new Contexts()
  const read = async () => {
    const next = await readNow()
    if (next.cert === last.cert && next.key === last.key) return undefined
    last = next
    contexts = new Contexts()
    return next
  }
  const asking = async (_: string, rule: CertificateRule) => contexts.get(rule.key, async () => contextOf(last, rule))
  return { server: last, asking, read }
}

interface Files {
  readonly cert: string
  readonly key: string
}

async function readFiles(files: Files, call: Call): Promise<{ server: TlsOptions & Files; leaf: X509Certificate }> {
  const key = await readSecretFile(files.key, '--key', call.signal)
  const cert = await readFile(files.cert, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new PosternError('FILE_UNREADABLE', `cannot read --cert ${files.cert} (${cause.code})`, { cause })
  })
  return { server: { ...COMMON, cert, key }, leaf: readPair(cert, key, files) }
}

function readPair(cert: string, key: string, files: Files): X509Certificate {
  try {
    const leaf = new X509Certificate(cert)
    if (leaf.checkPrivateKey(createPrivateKey(key))) return leaf
  } catch (cause) {
    throw new PosternError('CONFIG_INVALID', `${files.cert} and ${files.key} are not a PEM certificate and its key`, {
      cause,
    })
  }
  throw new PosternError('CONFIG_INVALID', `${files.key} is not the key of ${files.cert}`)
}

/** Certificates kept for names beside the team domain that are no applications, and how many are made anew in a second. */
const STRANGE_NAMES = 256
const STRANGE_RATE = 10

/**
 * A certificate of the dev CA per hostname, made when it is first asked for. Names beside the team domain (`x.localhost` for
 * `edge.localhost`) get one too, whether they are applications or not: else the certificate would tell a stranger which ones
 * are, and who mistypes a name would hear of certificates instead of NOT_FOUND. Any other name gets the team domain's.
 */
export async function certificatesOfDevCa(
  ca: DevCa,
  teamDomain: string,
  isOurs: (name: string) => boolean,
): Promise<Certificates> {
  const team = await ca.issue(teamDomain)
  const contexts = new Map<string, { context: SecureContext; until: number }>()
  const zone = `.${teamDomain.split('.').slice(1).join('.')}`
  const forCas = new Contexts()
  const budget = { second: 0, left: 0 }
  /** Issuing takes milliseconds of this thread: a stranger with many names cannot have all of it. */
  const mayIssue = (name: string): boolean => {
    if (isOurs(name)) return true
    if (!name.endsWith(zone) || !isHostname(name)) return false
    if (contexts.has(name)) return true
    const second = Math.floor(Date.now() / 1000)
    if (second !== budget.second) Object.assign(budget, { second, left: STRANGE_RATE })
    return --budget.left >= 0
  }
  const forgetStrange = () => {
    const strange = [...contexts.keys()].filter(known => known !== teamDomain && !isOurs(known))
    for (const known of strange.slice(0, Math.max(0, strange.length - STRANGE_NAMES))) contexts.delete(known)
  }
  const contextFor = async (name: string): Promise<SecureContext> => {
    const known = contexts.get(name)
    if (known !== undefined && known.until > Date.now()) return known.context
    const { cert, key, renewAt } = await ca.issue(name)
    const context = createSecureContext({ ...COMMON, cert, key })
    contexts.set(name, { context, until: renewAt })
    return context
  }
  return {
    server: {
      ...COMMON,
      cert: team.cert,
      key: team.key,
      SNICallback: (asked, done) => {
        const name = asked.toLowerCase()
        forgetStrange()
        contextFor(mayIssue(name) ? name : teamDomain).then(
          context => done(null, context),
          (error: Error) => done(error),
        )
      },
    },
    asking: (name, rule) => forCas.get(`${name} ${rule.key}`, () => ca.issue(name).then(pair => contextOf(pair, rule))),
  }
}

/** With no CA that is not of the rule; each of them is good by itself, whoever may be above it. */
function contextOf({ cert, key, renewAt }: Files & { readonly renewAt?: number }, rule: CertificateRule): Made {
  const context = createSecureContext({
    ...COMMON,
    cert,
    key,
    ca: [...rule.certificates],
    allowPartialTrustChain: true,
  })
  return { context, until: renewAt ?? Number.POSITIVE_INFINITY }
}
