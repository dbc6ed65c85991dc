import { mkdir, open, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Call, PosternError } from '@postern/interface'
import type { HostOptionSpecs } from '@postern/options'
import { PROGRAM_FLAGS, type Program } from '@postern/program'
import { DATA, readSettings } from './command.ts'
import { initialiseEdge, refuseInitialised, type Seeded } from './data.ts'

export const INIT = {
  ...DATA,
  teamDomain: { type: 'string', required: true, summary: 'the edge’s own hostname' },
  hostname: { type: 'string', summary: 'a first application’s hostname (default: none, to be administered)' },
  protocols: { type: 'string', default: 'ssh,tcp', summary: 'what it speaks: ssh, tcp, http, separated by commas' },
  tunnel: { type: 'string', default: 'home', summary: 'that application’s tunnel’s name' },
  tokens: { type: 'path', summary: 'folder to write the secrets to, a file 0600 each, instead of printing them' },
  ...PROGRAM_FLAGS,
} as const satisfies HostOptionSpecs

/** `postern-edge init` */
export async function init(argv: readonly string[], program: Program, call: Call): Promise<void> {
  const { data, teamDomain, hostname, tunnel, tokens, ...values } = (await readSettings(INIT, argv, program, call))
    .values
  if (hostname === undefined) return initEmpty({ data, teamDomain, tokens }, program, call)
  const protocols = protocolsOf(values.protocols)
  await refuseInitialised(data, call)
  const files = tokens === undefined ? undefined : await reserve(tokens)
  const seeded = await initialiseEdge({ data, teamDomain, hostname, tunnel, protocols }, call).catch(async error => {
    for (const file of Object.values(files ?? {})) await rm(file)
    throw error
  })
  const { tunnelToken, serviceToken, caFile } = seeded
  const shown: Shown = { data, teamDomain, hostname, protocols, serviceTokenId: serviceToken.id, caFile, files }
  if (files) {
    await writeFile(files.tunnel, `${tunnelToken}\n`)
    await writeFile(files.service, `${serviceToken.secret}\n`)
  }
  if (!program.json)
    return program.print(`${files ? whereSecretsAre(shown) : theSecrets(shown, seeded)}\n${nextSteps(shown)}`)
  const told = files
    ? { tunnelTokenFile: files.tunnel, serviceToken: { id: serviceToken.id, secretFile: files.service } }
    : { tunnelToken, serviceToken }
  program.print(`${JSON.stringify({ data, teamDomain, hostname, tunnel, ...told, caFile })}\n`)
}

/** @throws PosternError OPTION_INVALID */
function protocolsOf(text: string): readonly string[] {
  const names = text.split(',').map(name => name.trim())
  if (names.every(name => /^[a-z0-9][a-z0-9-]{0,31}$/.test(name))) return names
  throw new PosternError('OPTION_INVALID', '--protocols names protocols, separated by commas, for example ssh,http')
}

/** No application, and so no token: whoever runs it administers it. */
async function initEmpty(
  { data, teamDomain, tokens }: { data: string; teamDomain: string; tokens: string | undefined },
  program: Program,
  call: Call,
): Promise<void> {
  if (tokens !== undefined) throw new PosternError('OPTION_MISSING', '--tokens is for those of a first --hostname')
  const { caFile } = await initialiseEdge({ data, teamDomain }, call)
  if (program.json) return program.print(`${JSON.stringify({ data, teamDomain, caFile })}\n`)
  program.print(`The edge’s state is in ${data}. Next, run it, and administer it from this machine:

  postern-edge run --data ${data} --listen 127.0.0.1:8443
  postern tunnel create home --data ${data}
  postern admin app create db.example.com --tunnel home --data ${data}
`)
}

interface Shown {
  readonly data: string
  readonly teamDomain: string
  readonly hostname: string
  readonly protocols: readonly string[]
  readonly serviceTokenId: string
  readonly caFile: string
  readonly files: { readonly tunnel: string; readonly service: string } | undefined
}

/** Both files, empty and for this user alone, before anything is made: a token that cannot be kept must not exist. */
async function reserve(folder: string): Promise<{ tunnel: string; service: string }> {
  const files = { tunnel: join(folder, 'tunnel-token'), service: join(folder, 'service-token') }
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const made: string[] = []
  for (const file of Object.values(files)) {
    const handle = await open(file, 'wx', 0o600).catch(async (cause: NodeJS.ErrnoException) => {
      for (const one of made) await rm(one)
      const next = 'Choose another folder for --tokens, or move the file away.'
      throw new PosternError('ALREADY_EXISTS', `${file} cannot be made (${cause.code})`, { cause, next })
    })
    await handle.close()
    made.push(file)
  }
  return files
}

function whereSecretsAre({ data, files, serviceTokenId }: Shown): string {
  return `The edge’s state is in ${data}. The secrets are in these files and nowhere else:

  tunnel token           ${files?.tunnel}
  service token          ${files?.service}   (its id: ${serviceTokenId})
`
}

function theSecrets({ data }: Shown, { tunnelToken, serviceToken }: Seeded): string {
  return `The edge’s state is in ${data}. These secrets are shown once and kept nowhere; put each in a file of mode 600:

  tunnel token           ${tunnelToken}
  service token id       ${serviceToken.id}
  service token secret   ${serviceToken.secret}
`
}

function nextSteps({ data, teamDomain, hostname, protocols, serviceTokenId, caFile, files }: Shown): string {
  const { tunnel, service } = files ?? { tunnel: 'tunnel-token', service: 'service-token' }
  const [url, reach] = protocols.includes('ssh')
    ? ['ssh://localhost:22', `access ssh --hostname ${hostname}:8443`]
    : protocols.includes('http')
      ? ['http://localhost:8080', `access http --hostname ${hostname}:8443 --url localhost:9000`]
      : ['tcp://localhost:5432', `access tcp --hostname ${hostname}:8443 --url localhost:5432`]
  return `Next, with the certificate of the CA that was made (or run with --cert and --key of your own, and leave out --ca):

  postern-edge run --data ${data} --listen 127.0.0.1:8443
  posternd --hostname ${hostname} --url ${url} --edge https://${teamDomain}:8443 --ca ${caFile} --token-file ${tunnel}
  postern ${reach} --ca ${caFile} --id ${serviceTokenId} --secret-file ${service}
`
}
