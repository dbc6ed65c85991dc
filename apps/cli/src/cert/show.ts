import { createPrivateKey, X509Certificate } from 'node:crypto'
import { type Call, PosternError } from '@postern/interface'
import { createSecretReader, parseCommandLine, readOptions, renderHelp, resolvePending } from '@postern/options'
import { PROGRAM_FLAGS, type Program } from '@postern/program'
import { facts, jsonLine, relative } from '../admin/show.ts'
import { readBytes } from './files.ts'

const FLAGS = {
  passphrase: { type: 'secret', summary: 'of a PKCS#12 file (.p12, .pfx)' },
  ...PROGRAM_FLAGS,
} as const
const HELP = {
  usage: 'postern cert show FILE [options]',
  summary: 'Say what a client certificate says: a file in PEM, DER or PKCS#12. Asks no edge.',
  sections: [{ title: 'Options', specs: FLAGS }],
  examples: ['postern cert show ci.pem', 'postern cert show me.p12 --passphrase-file ./passphrase'],
}

interface Read {
  readonly leaf: X509Certificate
  /** Certificates besides the first. */
  readonly others: number
  /** `yes`, `no`, or that it is another one's. */
  readonly key: string
}

/** `postern cert show`: what is in a file. */
export async function show(argv: readonly string[], program: Program, outer: Call): Promise<void> {
  const line = parseCommandLine(argv, FLAGS)
  if (line.given.some(one => one.option === 'help')) return program.print(renderHelp(HELP))
  const { words } = resolvePending(line, [], { own: FLAGS })
  const { env, cwd, redactor } = program
  const sources = {
    given: line.given,
    pending: line.pending,
    env,
    cwd,
    redactor,
    secrets: createSecretReader(process.stdin),
  }
  const { passphrase } = (await readOptions(FLAGS, sources, outer.signal)).values
  const [file, ...more] = words
  if (file === undefined || more.length > 0) throw new PosternError('BAD_USAGE', 'one file is to be shown')
  const read = await contentOf(await readBytes(file, 'FILE'), file, passphrase)
  const { readLeaf } = await import('@postern/pki')
  const { commonName, san, issuer, subject, serial, fingerprint, notBefore, notAfter } = readLeaf(read.leaf.raw)
  const [from, until] = [notBefore, notAfter].map(time => new Date(time).toISOString())
  const names = san.map(({ type, value }) => `${type}:${value}`)
  const { key, others } = read
  if (program.json)
    return program.print(
      jsonLine({
        file,
        commonName,
        san,
        issuer,
        subject,
        serial,
        fingerprint,
        notBefore: from,
        notAfter: until,
        key,
        others,
      }),
    )
  program.print(
    facts([
      ['subject', subject],
      ...names.map((name, at) => [at === 0 ? 'names' : '', name] as const),
      ['issuer', issuer],
      ['serial', serial],
      ['fingerprint', fingerprint],
      ['from', from],
      ['until', `${until} (${notAfter <= Date.now() ? 'ended ' : ''}${relative(until)})`],
      ['key in the file', key],
      ['further certificates', others === 0 ? undefined : others],
    ]),
  )
}

/** @throws PosternError FILE_UNREADABLE; AUTH_REJECTED: a wrong passphrase */
async function contentOf(bytes: Buffer, file: string, passphrase: string | undefined): Promise<Read> {
  const text = bytes.toString('latin1')
  const found = text.match(/-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g)
  const [first] = found ?? []
  if (first !== undefined) {
    const leaf = certificateOf(first)
    if (leaf !== undefined) return { leaf, others: (found?.length ?? 1) - 1, key: keyIn(text, leaf) }
  }
  const der = certificateOf(bytes)
  if (der !== undefined) return { leaf: der, others: 0, key: 'no' }
  // PKCS#12 is DER, too: anything else is no certificate in any form.
  if (bytes[0] !== 0x30)
    throw new PosternError('FILE_UNREADABLE', `${file} has no certificate in PEM, DER or PKCS#12 in it`)
  const { readPkcs12 } = await import('@postern/pki')
  const { cert, ca } = await readPkcs12(bytes, passphrase)
  const above = cert.match(/-----BEGIN CERTIFICATE-----/g)?.length ?? 1
  return { leaf: new X509Certificate(cert), others: above - 1 + ca.length, key: 'yes' }
}

function certificateOf(input: string | Buffer): X509Certificate | undefined {
  try {
    return new X509Certificate(input)
  } catch {
    return undefined
  }
}

function keyIn(text: string, leaf: X509Certificate): string {
  if (!text.includes('PRIVATE KEY-----')) return 'no'
  if (/ENCRYPTED/.test(text)) return 'yes, encrypted'
  try {
    return leaf.checkPrivateKey(createPrivateKey(text)) ? 'yes' : 'another certificate’s'
  } catch {
    return 'one that cannot be read'
  }
}
