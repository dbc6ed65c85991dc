import { once } from 'node:events'
import type { Server } from 'node:http'
import { type AddressInfo, isIP } from 'node:net'
import { type Call, PosternError } from '@postern/interface'
import { readOptions } from '@postern/options'
import { jsonLineOf, type Program } from '@postern/program'
import { CREDENTIAL_FLAGS, credentialHelp, oneApplication, openCredentials, startCommand } from './credential.ts'
import { listenFailed, readLocalAddress, showAddress } from './local-address.ts'
import { createLocalProxy } from './local-proxy.ts'
import { Presenting } from './presenting.ts'

const COMMAND = {
  specs: {
    ...CREDENTIAL_FLAGS,
    url: { type: 'string', default: 'localhost:0', aliases: ['listener'], summary: 'listen here: localhost:9000' },
  },
  implied: true,
} as const
const HELP = {
  usage: 'postern access http APPLICATION [--url localhost:PORT] [options]',
  summary: 'Reach a web application at a local address, for programs that cannot sign in.',
  specs: COMMAND.specs,
  examples: ['postern access http --hostname app.example.com --url localhost:9000'],
}

/** `postern access http`: signs in, listens on this machine, and adds the credential to whatever is asked there. */
export async function http(argv: readonly string[], program: Program, outer: Call): Promise<void> {
  const { run, word, isHelp } = await startCommand(argv, COMMAND.specs, program, outer.signal)
  if (isHelp) return program.print(await credentialHelp(HELP, outer))
  const { gently } = program.stop
  const call: Call = { log: run.log, signal: AbortSignal.any([outer.signal, gently]) }
  const { app, url } = (await readOptions(COMMAND.specs, run.sources, call.signal)).values
  const application = oneApplication(word, app)
  const local = readLocalAddress(url, '--url', program.cwd)
  if ('path' in local || !(local.host.startsWith('127.') || (isIP(local.host) === 6 && local.host === '::1')))
    throw new PosternError('OPTION_INVALID', '--url: access http listens on this machine’s loopback only', {
      next: 'Write localhost:PORT. Whoever reaches it is let in as you.',
    })
  await using credentials = await openCredentials(application, COMMAND, run, call)
  credentials.setInteractive(true)
  const presenting = new Presenting(credentials, call)
  await presenting.get() // at start: a person is here now
  const server = createLocalProxy({ application, at: credentials.at, presenting, call })
  await listening(server, local)
  const address = showAddress({ host: local.host, port: (server.address() as AddressInfo).port })
  if (program.json) program.print(jsonLineOf({ event: 'listening', hostname: application, address }))
  else run.log.info(`${application} is at http://${address.replace('127.0.0.1', 'localhost')}; Ctrl-C ends it`)
  if (!call.signal.aborted) await once(call.signal, 'abort')
  const closed = once(server, 'close')
  server.close()
  server.closeAllConnections()
  await closed
  if (outer.signal.aborted) throw outer.signal.reason
}

async function listening(server: Server, local: { readonly host: string; readonly port: number }): Promise<void> {
  try {
    server.listen(local.port, local.host)
    await once(server, 'listening')
  } catch (cause) {
    throw listenFailed(showAddress(local), cause as NodeJS.ErrnoException)
  }
}
