import { join } from 'node:path'
import type { SigningRequest, Tunnel } from '@postern/admin'
import { PosternError } from '@postern/interface'
import type { KeyAndCertificate } from '@postern/pki'
import { readTrust, terminal } from '@postern/program'
import { type Context, command } from './command.ts'
import { seconds } from './options.ts'
import { reserve } from './secret-files.ts'
import { facts, relative, safe } from './show.ts'

/** Where the identity of a tunnel is, for every command that makes or uses it. */
export const IDENTITY_FILE = {
  identityFile: { type: 'path', summary: 'the tunnel’s identity (default: a file of its own in your Postern folder)' },
} as const

/** Where the edge is for whoever is elsewhere, and the CA to trust where that is the edge's own. */
export async function addressOf(
  place: Context<never, never>['place'],
  ask: Context<never, never>['ask'],
  flags: Pick<Context<never, never>['flags'], 'ca'>,
): Promise<{ readonly url: string; readonly trust: string | undefined }> {
  const { edge, ca, data } = await place()
  const { url, ownCa } = await ask('status.get', {})
  const own = edge === undefined && ownCa ? join(data ?? 'FOLDER_OF_THE_EDGE', 'ca', 'ca.pem') : undefined
  return { url: edge?.origin ?? url, trust: ca ?? flags.ca ?? own }
}

/** What an identity is registered with, and the file that keeps its key. */
export interface MadeIdentity {
  readonly fingerprint: string
  readonly file: string
}

/** Makes an identity and keeps it, before the edge hears of it: a key that is lost vouches for nobody. */
export async function makeIdentity(
  tunnel: string,
  path: string | undefined,
  { env }: Context<never, never>['program'],
): Promise<MadeIdentity & { readonly certificate: string }> {
  const { createIdentity } = await import('@postern/connector/issue')
  const { keepIdentity } = await import('@postern/connector/files')
  const { keyFingerprint } = await import('@postern/connector')
  const identity = await createIdentity(tunnel)
  const file = await keepIdentity(env, tunnel, identity, path)
  return { fingerprint: keyFingerprint(identity.key), file, certificate: identity.cert }
}

/** @throws PosternError CONFLICT: it has none; NOT_FOUND: it is on another machine */
async function identityHere(
  { name, identity }: Tunnel,
  path: string | undefined,
  { env }: Context<never, never>['program'],
): Promise<KeyAndCertificate> {
  if (identity === undefined)
    throw new PosternError('CONFLICT', `the tunnel ${name} has no identity that could vouch for a daemon`, {
      next: `Make it here: postern tunnel rotate ${name}`,
    })
  const { identityFile, readIdentity } = await import('@postern/connector/files')
  const { fingerprint } = identity
  const found = await readIdentity(env, name, fingerprint, path)
  if (found) return found
  throw new PosternError(
    'NOT_FOUND',
    `the identity of the tunnel ${name} is not at ${path ?? identityFile(env, name, fingerprint)}`,
    {
      next: `Run this on the machine that made the tunnel, or name the file with --identity-file. If it is lost: postern tunnel rotate ${name}`,
    },
  )
}

export const ROTATE = command({
  summary: 'make another identity for a tunnel; every daemon of it is cut off and logs in again',
  words: ['NAME'],
  options: IDENTITY_FILE,
  example: 'postern tunnel rotate home',
  async run({ words: { NAME: name }, values, program, ask }) {
    await ask('tunnel.get', { params: { name } }) // before anything is made for what is not there
    const { certificate, ...made } = await makeIdentity(name, values.identityFile, program)
    await ask('tunnel-identity.put', { params: { name }, body: { certificate, replace: true } })
    return { tunnel: name, ...made }
  },
  show({ tunnel, fingerprint, file }, { say }) {
    say('Whatever its daemons had is good no longer. On each of their machines:')
    say(`  posternd login --tunnel ${tunnel}`)
    return `the identity of the tunnel ${tunnel} is now\n  ${fingerprint}\nand its key is in ${file}\n`
  },
})

export const SETUP_TOKEN = command({
  summary: 'write a file with which one machine logs its daemon in, once, without a person',
  words: ['NAME'],
  options: {
    file: { type: 'path', required: true, summary: 'the new file (mode 0600), which goes to that machine' },
    expiresIn: { type: 'duration', default: '24h', summary: 'how long it can be used, a day at most' },
    ...IDENTITY_FILE,
  },
  example: 'postern tunnel setup-token home --file ./home-setup',
  async run({ words: { NAME: name }, values, program, ask, place, flags }) {
    const { url, trust } = await addressOf(place, ask, flags)
    const tunnel = await ask('tunnel.get', { params: { name } })
    const identity = await identityHere(tunnel, values.identityFile, program)
    const { createSetupAuthority } = await import('@postern/connector/issue')
    const { cert, key } = await createSetupAuthority(identity, name)
    await using reserved = await reserve([values.file])
    const { id, token, expiresAt } = await ask('connector-setup.create', {
      params: { name },
      body: { authority: cert, expiresInSeconds: seconds(values.expiresIn) },
    })
    const [pem] = (await readTrust(trust)).ca
    const setup = {
      version: 1,
      edge: url,
      ...(pem !== undefined && { ca: pem }),
      tunnel: name,
      token,
      authority: cert,
      authorityKey: key,
      identity: identity.cert,
    }
    await reserved.write(values.file, JSON.stringify(setup, null, 2))
    return { tunnel: name, id, expiresAt, file: values.file }
  },
  show({ file, expiresAt, tunnel }, { say }) {
    say('On the machine of the daemon, with that file:')
    say(`  posternd login --setup-token ${file}`)
    return `${file} logs one daemon of the tunnel ${tunnel} in, until ${expiresAt}\n`
  },
})

export const SIGN = command({
  summary: 'sign the key of a daemon that is being logged in, with the identity that is on this machine',
  words: ['NAME'],
  options: {
    yes: { type: 'boolean', default: false, summary: 'sign without asking: only with --fingerprint' },
    fingerprint: { type: 'string', summary: 'of the one key to sign, as that daemon shows it' },
    ...IDENTITY_FILE,
  },
  example: 'postern tunnel sign home',
  async run({ words: { NAME: name }, values, program, call, ask }) {
    const tunnel = await ask('tunnel.get', { params: { name } })
    const identity = await identityHere(tunnel, values.identityFile, program)
    if (values.yes && values.fingerprint === undefined)
      throw new PosternError('OPTION_MISSING', '--yes signs what nobody looks at, so it wants --fingerprint')
    const { keyFingerprint } = await import('@postern/connector')
    const waiting = await ask('signing-request.list', { params: { name } })
    // The edge's word for it is not taken: what is signed is this key.
    const asked = waiting.map(one => ({ ...one, fingerprint: keyFingerprint(one.publicKey) }))
    const open = asked.filter(
      one => one.certificate === undefined && (values.fingerprint ?? one.fingerprint) === one.fingerprint,
    )
    if (open.length === 0)
      throw new PosternError(
        'NOT_FOUND',
        `no ${values.fingerprint ? 'such ' : ''}key of the tunnel ${name} waits to be signed`,
        {
          next: `Start posternd login --tunnel ${name} on the daemon’s machine, and leave it running.`,
        },
      )
    const { signConnector } = await import('@postern/connector/issue')
    const signed: SigningRequest[] = []
    for (const one of open) {
      for (const line of describe(one).trimEnd().split('\n')) terminal.show(line)
      if (!values.yes && !(await isYes(call))) continue
      const certificate = await signConnector(identity, name, { id: one.connector, publicKey: one.publicKey })
      signed.push(await ask('signing-request.sign', { params: { name, id: one.id }, body: { certificate } }))
    }
    return signed
  },
  show: signed =>
    signed.length === 0
      ? 'nothing was signed\n'
      : signed.map(one => `signed for ${safe(one.host)}, connector ${one.connector}\n`).join(''),
})

function describe({ host, remoteAddress, actor, fingerprint, connector, createdAt }: SigningRequest): string {
  return `A daemon wants its key signed:\n${facts([
    ['machine', host],
    ['address', remoteAddress],
    ['signed in', actor],
    ['asked', relative(createdAt)],
    ['connector', connector],
    ['fingerprint', fingerprint],
  ])}`
}

async function isYes(call: Context<never, never>['call']): Promise<boolean> {
  const answer = await terminal.ask('Does that machine show the same fingerprint? Sign? [y/N]', { secret: false }, call)
  return /^y(es)?$/i.test(answer.trim())
}
