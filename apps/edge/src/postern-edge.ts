import { isIP } from 'node:net'
import { resolve } from 'node:path'
import { type Call, PosternError } from '@postern/interface'
import { type Command, findCommand, type HostOptionSpecs, parseCommandLine, renderHelp } from '@postern/options'
import { PLUGIN_FLAGS, PROGRAM_FLAGS, type Program, pluginPlaces, readLevel, VERSION_FLAG } from '@postern/program'
import { DATA, readSettings } from './command.ts'
import type { EdgeConfig } from './config.ts'
import { type EdgeFile, readEdgeFile } from './config-file.ts'
import { checkEdge } from './data.ts'
import type { RunningEdge } from './edge.ts'
import { INIT, init } from './init-command.ts'

const TLS = {
  cert: {
    type: 'path',
    summary: 'PEM file of the certificate (default: the dev CA issues)',
    env: ['POSTERN_EDGE_CERT'],
  },
  key: { type: 'path', summary: 'PEM file of its key', env: ['POSTERN_EDGE_KEY'] },
} as const satisfies HostOptionSpecs

const SEAL_KEY = {
  sealKey: {
    type: 'secret',
    summary: 'what seals secrets in the database, kept elsewhere (default: keys/seal.key in the data folder)',
    env: ['POSTERN_EDGE_SEAL_KEY'],
  },
} as const satisfies HostOptionSpecs

const CONFIG = {
  config: {
    type: 'path',
    summary:
      'config file: the flags below as keys, in camelCase, plugins: as a list, and options: of plugins by their names',
    env: ['POSTERN_EDGE_CONFIG'],
  },
} as const satisfies HostOptionSpecs

const RUN = {
  ...DATA,
  listen: { type: 'string', default: '127.0.0.1:8443', summary: 'address and port', env: ['POSTERN_EDGE_LISTEN'] },
  publicPort: {
    type: 'number',
    summary: 'port people reach it at, where something in front forwards to it (default: the one it listens on)',
    env: ['POSTERN_EDGE_PUBLIC_PORT'],
  },
  allowPrivate: {
    type: 'string',
    summary: 'hosts, with commas between, that the edge may ask at private addresses: an identity provider of yours',
    env: ['POSTERN_EDGE_ALLOW_PRIVATE'],
  },
  ...TLS,
  ...SEAL_KEY,
  adminSocket: {
    type: 'string',
    summary: 'Unix socket of the administration, or off (default: admin.sock in the data folder)',
    env: ['POSTERN_EDGE_ADMIN_SOCKET'],
  },
  gracePeriod: {
    type: 'duration',
    default: '10s',
    summary: 'how long open connections may go on after a stop',
    env: ['POSTERN_GRACE_PERIOD'],
  },
  plugin: {
    ...PLUGIN_FLAGS.plugin,
    summary: 'use a plugin package, by the name it was added with or ./path; its plugins run in a thread each',
  },
  ...PROGRAM_FLAGS,
} as const satisfies HostOptionSpecs

const CHECK = { ...DATA, ...TLS, ...SEAL_KEY, ...PROGRAM_FLAGS } as const satisfies HostOptionSpecs

interface EdgeCommand extends Command<EdgeCommand> {
  readonly specs?: HostOptionSpecs
  readonly example?: string
  run?(argv: readonly string[], program: Program, call: Call): Promise<void>
}

const COMMANDS: EdgeCommand = {
  summary: 'The edge: decides who reaches which private service, and carries them there.',
  commands: {
    init: {
      summary: 'make the state of a new edge; with a first application, print its tokens, once',
      specs: INIT,
      example: 'postern-edge init --data ./edge --team-domain edge.localhost --hostname db.localhost',
      run: init,
    },
    run: {
      summary: 'serve until stopped',
      specs: { ...CONFIG, ...RUN },
      example: 'postern-edge run --data ./edge --listen 127.0.0.1:8443',
      run,
    },
    check: {
      summary: 'say what is wrong with an edge’s state and certificate, without starting it',
      specs: CHECK,
      example: 'postern-edge check --data ./edge',
      run: check,
    },
  },
}

/** `postern-edge init | run | check`. */
export async function posternEdge(program: Program, call: Call): Promise<void> {
  const { command, path, rest } = findCommand<EdgeCommand>(program.argv, COMMANDS)
  const asked = parseCommandLine(rest, command.specs ?? PROGRAM_FLAGS).given.some(({ option }) => option === 'help')
  if (command.run !== undefined && !asked) return command.run(rest, program, call)
  program.print(
    renderHelp({
      usage: `${['postern-edge', ...path].join(' ')} ${command.run === undefined ? 'COMMAND ' : ''}[options]`,
      summary: command.summary,
      ...(command.commands && { commands: command.commands }),
      sections: [{ title: 'Options', specs: command.specs ?? { help: PROGRAM_FLAGS.help, ...VERSION_FLAG } }],
      examples:
        command.example === undefined
          ? Object.values(COMMANDS.commands ?? {}).flatMap(({ example }) => example ?? [])
          : [command.example],
    }),
  )
}

async function run(argv: readonly string[], program: Program, outer: Call): Promise<void> {
  const { values, file, provided } = await readRunSettings(argv, program, outer)
  const call: Call = { signal: program.stop.now, log: program.log(readLevel(values.logLevel)) }
  const config: EdgeConfig = {
    data: values.data,
    listen: listenOf(values.listen),
    ...publicPortOf(values.publicPort),
    ...(values.allowPrivate !== undefined && { allowPrivate: values.allowPrivate.split(',').map(host => host.trim()) }),
    grace: values.gracePeriod,
    setupToken: true,
    ...tlsOf(values),
    ...sealKeyOf(values),
    ...adminSocketOf(values, program),
    ...pluginsOf(values.plugin, provided.plugin === 'file' ? file : undefined, program),
    ...(file && { pluginOptions: file.plugins }),
  }
  const { startEdge } = await import('./edge.ts') // twice as much as all the rest, which `init` and `check` do without
  await using edge = await startEdge(config, call)
  // With files of its own there is something to read again; else a hangup stops it, as any program.
  if (config.tls) program.stop.onHangup(() => void edge.reloadCertificates())
  const { address, teamDomain, caFile, adminSocket, setupTokenFile } = edge
  if (program.json) {
    const told = { listening: address, teamDomain, caFile, adminSocket, setupTokenFile }
    program.print(`${JSON.stringify(told)}\n`)
  } else program.print(whereItIs(edge))
  await new Promise<void>(resolve => program.stop.gently.addEventListener('abort', () => resolve(), { once: true }))
  call.log.info('stopping: nobody new is let in, what is open may finish', { graceSeconds: values.gracePeriod / 1000 })
  await edge.close()
}

/** Flags, environment and config file, in falling order. */
async function readRunSettings(argv: readonly string[], program: Program, call: Call) {
  const { config } = (await readSettings({ ...CONFIG }, argv, program, call, { others: RUN })).values
  const file = config === undefined ? undefined : await readEdgeFile(config)
  const reading = await readSettings(RUN, argv, program, call, { others: CONFIG, ...(file && { file: file.own }) })
  return { ...reading, file }
}

function pluginsOf(
  packages: readonly string[],
  file: EdgeFile | undefined,
  program: Program,
): Pick<EdgeConfig, 'addPlugins'> {
  if (packages.length === 0) return {}
  const places = pluginPlaces(program)
  return { addPlugins: { ...places, packages, from: file?.folder ?? places.from } }
}

function whereItIs({ address, port, team, teamDomain, caFile, adminSocket, setupTokenFile }: RunningEdge): string {
  const lines = [`postern-edge listens on ${address} for ${teamDomain}${caFile ? `; its CA is ${caFile}` : ''}`]
  if (adminSocket !== undefined)
    lines.push(`administer it from this machine: postern admin status --socket ${adminSocket}`)
  if (setupTokenFile !== undefined) {
    const login = `postern admin login --edge https://${teamDomain}:${port}${caFile ? ` --ca ${caFile}` : ''}`
    lines.push(`or from elsewhere, once, in 15 minutes: ${login} --setup-token-file ${setupTokenFile}`)
    lines.push(`or in a browser, with the token in that file: ${team}/setup`)
  }
  return `${lines.join('\n')}\n`
}

function adminSocketOf(
  { adminSocket }: { adminSocket: string | undefined },
  { cwd }: Program,
): Pick<EdgeConfig, 'adminSocket'> {
  if (adminSocket === undefined) return {}
  return { adminSocket: adminSocket === 'off' ? false : resolve(cwd, adminSocket) }
}

function sealKeyOf({ sealKey }: { sealKey: string | undefined }): Pick<EdgeConfig, 'sealKey'> {
  return sealKey === undefined ? {} : { sealKey }
}

function publicPortOf(publicPort: number | undefined): Pick<EdgeConfig, 'publicPort'> {
  if (publicPort === undefined) return {}
  if (Number.isInteger(publicPort) && publicPort >= 1 && publicPort <= 65_535) return { publicPort }
  throw new PosternError('OPTION_INVALID', '--public-port is a port, 1 to 65535')
}

async function check(argv: readonly string[], program: Program, call: Call): Promise<void> {
  const { values } = await readSettings(CHECK, argv, program, call)
  const wrong = await checkEdge({ data: values.data, ...tlsOf(values), ...sealKeyOf(values) }, call)
  if (program.json) program.print(`${JSON.stringify({ ok: wrong.length === 0, wrong })}\n`)
  else program.print(wrong.length === 0 ? 'nothing is wrong\n' : `${wrong.join('\n')}\n`)
  if (wrong.length > 0)
    throw new PosternError('CONFIG_INVALID', `${wrong.length} thing(s) are wrong with ${values.data}`)
}

function tlsOf({ cert, key }: { cert: string | undefined; key: string | undefined }): Pick<EdgeConfig, 'tls'> {
  if (cert === undefined && key === undefined) return {}
  if (cert !== undefined && key !== undefined) return { tls: { cert, key } }
  throw new PosternError('OPTION_MISSING', '--cert and --key go together')
}

/** `host:port`, `[v6]:port` or `:port`, which is every address. */
function listenOf(text: string): { host: string; port: number } {
  const [, v6, name, digits] = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9.-]*)):([0-9]{1,5})$/i.exec(text) ?? []
  const port = Number(digits)
  if (digits === undefined || port > 65_535 || (v6 !== undefined && isIP(v6) !== 6)) {
    throw new PosternError('OPTION_INVALID', '--listen is address:port, for example 127.0.0.1:8443')
  }
  return { host: v6 ?? (name || '::'), port }
}
