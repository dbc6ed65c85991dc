import { writeFile } from 'node:fs/promises'
import type { Certificate, SubjectName } from '@postern/admin'
import { PosternError } from '@postern/interface'
import { readBounded } from './ca-files.ts'
import { command, group } from './command.ts'
import { seconds } from './options.ts'
import { facts, relative, table } from './show.ts'

const AUTHORITY = { type: 'string', required: true, summary: 'the CA, by its name' } as const

export const CERTIFICATE = group('Issue, see and revoke client certificates', {
  list: command({
    summary: 'list the certificates that were issued here and have not ended',
    options: {
      authority: { type: 'string', summary: 'of this CA only' },
      called: { type: 'string', summary: 'with this common name, or this address or other name in it' },
      serial: { type: 'string', summary: 'with this serial number' },
    },
    example: 'postern admin certificate list --authority team',
    run: ({ values: { authority, called, serial }, ask }) =>
      ask('certificate.list', {
        query: {
          ...(authority !== undefined && { ca: authority }),
          ...(called !== undefined && { name: called }),
          ...(serial !== undefined && { serial }),
        },
      }),
    show: certificates => table(['SERIAL', 'CA', 'WHO', 'NAMES', 'ISSUED', 'ENDS'], certificates.map(rowOf)),
  }),
  issue: command({
    summary: 'issue a certificate for the key of a request; of the request nothing else counts',
    options: {
      authority: AUTHORITY,
      csr: { type: 'path', required: true, summary: 'PEM file of the request (openssl req -new)' },
      commonName: { type: 'string', summary: 'what people read' },
      san: { type: 'string', multiple: true, summary: 'a name in it: dns:NAME, email:ADDRESS, uri:URI or ip:ADDRESS' },
      expiresIn: { type: 'duration', summary: 'how long it lasts (default, and at most: what the CA says)' },
      out: { type: 'path', summary: 'write it into this new file instead of printing it' },
    },
    example:
      'postern admin certificate issue --authority team --csr ./printer.csr --common-name printer --san dns:printer.example.com',
    async run({ values, ask }) {
      const { authority, csr, commonName, san, expiresIn, out } = values
      const body = {
        csr: (await readBounded(csr, '--csr')).toString('latin1'),
        san: san.map(nameIn),
        ...(commonName !== undefined && { commonName }),
        ...(expiresIn !== undefined && { seconds: seconds(expiresIn) }),
      }
      const issued = await ask('certificate.issue', { params: { ca: authority }, body })
      if (out !== undefined) await writeFile(out, issued.certificate, { flag: 'wx' }).catch(cannotWrite(out))
      return out === undefined ? issued : { ...issued, file: out }
    },
    show(issued, { say }) {
      const { serial, notAfter, certificate } = issued
      if ('file' in issued)
        return facts([
          ['file', issued.file],
          ['serial', serial],
          ['until', notAfter],
        ])
      say(`The certificate ${serial}, good until ${notAfter}:`)
      return certificate
    },
  }),
  revoke: command({
    summary: 'revoke certificates, by serial or holder; who came by them is cut off',
    options: {
      authority: AUTHORITY,
      serial: { type: 'string', summary: 'this one, whoever issued it' },
      email: { type: 'string', summary: 'all with this address in them' },
      serviceToken: { type: 'string', summary: 'all that this service token asked for, by name or id' },
      issuer: { type: 'string', summary: 'with --subject: all that the person asked for whom this provider calls so' },
      subject: { type: 'string', summary: 'see --issuer' },
    },
    example: 'postern admin certificate revoke --authority team --serial 5f0c33a1',
    async run({ values: { authority, ...which }, ask }) {
      const { serviceToken, ...others } = which
      const token = serviceToken && (await ask('service-token.get', { params: { token: serviceToken } }))
      const subject = token ? { issuer: 'postern:service-token', subject: token.id } : undefined
      return ask('certificate.revoke', { params: { ca: authority }, body: meant(others, subject) })
    },
    show: ({ revoked }) =>
      revoked === 0
        ? 'none that was good\n'
        : `${revoked === 1 ? 'one certificate is' : `${revoked} certificates are`} revoked\n`,
  }),
})

interface Which {
  readonly serial: string | undefined
  readonly email: string | undefined
  readonly issuer: string | undefined
  readonly subject: string | undefined
}

interface Holder {
  readonly issuer: string
  readonly subject: string
}

/** @throws PosternError OPTION_MISSING, OPTION_CONFLICT */
function meant({ serial, email, issuer, subject }: Which, token: Holder | undefined) {
  if ((issuer === undefined) !== (subject === undefined))
    throw new PosternError('OPTION_MISSING', '--issuer and --subject go together')
  const ways = [
    ...(serial === undefined ? [] : [{ serial }]),
    ...(email === undefined ? [] : [{ email }]),
    ...(issuer === undefined || subject === undefined ? [] : [{ issuer, subject }]),
    ...(token === undefined ? [] : [token]),
  ]
  const [way, another] = ways
  if (another !== undefined) throw new PosternError('OPTION_CONFLICT', 'name certificates in one way')
  if (way !== undefined) return way
  throw new PosternError(
    'OPTION_MISSING',
    'which certificates is missing; give --serial, --email, --service-token, or --issuer and --subject',
  )
}

/** `dns:printer.example.com` */
function nameIn(text: string): SubjectName {
  const [, type, value] = /^(dns|email|uri|ip):(.+)$/i.exec(text) ?? []
  if (type !== undefined && value !== undefined) return { type: type.toLowerCase() as SubjectName['type'], value }
  throw new PosternError('OPTION_INVALID', `--san: ${JSON.stringify(text)} is not dns:, email:, uri: or ip: and a name`)
}

function cannotWrite(path: string): (cause: NodeJS.ErrnoException) => never {
  return cause => {
    const isThere = cause.code === 'EEXIST'
    throw new PosternError(
      isThere ? 'ALREADY_EXISTS' : 'FILE_UNREADABLE',
      isThere ? `${path} is there already` : `${path} cannot be written (${cause.code})`,
      { cause },
    )
  }
}

function rowOf({ serial, ca, commonName, san, issuedAt, notAfter, revokedAt }: Certificate) {
  const names = san.map(({ type, value }) => `${type}:${value}`).join(' ')
  const ends = revokedAt === undefined ? relative(notAfter) : `revoked ${relative(revokedAt)}`
  return [serial, ca, commonName, names, relative(issuedAt), ends]
}
