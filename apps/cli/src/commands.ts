import type { Call } from '@postern/interface'
import { type Command, nearest } from '@postern/options'
import type { Program } from '@postern/program'

/** A command of `postern`. What it runs is imported when it is run: `postern --help` loads nothing else. */
export interface CliCommand extends Command<CliCommand> {
  readonly examples?: readonly string[]
  run?(argv: readonly string[], program: Program, call: Call): Promise<void>
}

type Run = NonNullable<CliCommand['run']>

const access =
  (protocol: string): Run =>
  async (argv, program, call) =>
    (await import('./access.ts')).access(protocol, argv, program, call)

const administer =
  (top: 'tunnel' | 'admin'): Run =>
  async (argv, program, call) =>
    (await import('./admin/administer.ts')).administer([top, ...argv], program, call)

export const COMMANDS: CliCommand = {
  summary: 'Postern: your private services from anywhere, with the programs you have.',
  examples: [
    'postern access ssh-config --hostname ssh.example.com --write',
    'postern access tcp --hostname db.example.com --url localhost:5432',
  ],
  commands: {
    access: {
      summary: 'Reach an application, by tcp, ssh, rdp, smb or the protocol of a plugin',
      otherwise: 'A plugin’s protocol needs --plugin PACKAGE.',
      examples: [
        'postern access login https://app.example.com',
        'postern access tcp --hostname db.example.com --url localhost:5432',
        "ssh -o ProxyCommand='postern access ssh --hostname %h' me@ssh.example.com",
      ],
      commands: {
        tcp: { summary: 'any TCP service, on a local port or on stdin and stdout', run: access('tcp') },
        ssh: { summary: 'SSH, as the ProxyCommand of ssh, scp, sftp, rsync or git', run: access('ssh') },
        up: {
          summary: 'many applications at once, from a file, and how each of them is',
          run: async (argv, program, call) => (await import('./up/up.ts')).up(argv, program, call),
        },
        rdp: {
          summary: 'Remote Desktop: a local port, an .rdp file, and your client opened with it',
          run: access('rdp'),
        },
        smb: { summary: 'file shares of Windows and Samba, on a local port', run: access('smb') },
        login: {
          summary: 'sign in with your browser, once per team',
          run: async (argv, program, call) => (await import('./login.ts')).login(argv, program, call),
        },
        logout: {
          summary: 'sign out, here and at the edge',
          run: async (argv, program, call) => (await import('./login.ts')).logout(argv, program, call),
        },
        token: {
          summary: 'print a token for one application, for other programs',
          run: async (argv, program, call) => (await import('./login.ts')).token(argv, program, call),
        },
        curl: {
          summary: 'run curl with a credential, for one application alone',
          run: async (argv, program, call) => (await import('./curl.ts')).curl(argv, program, call),
        },
        http: {
          summary: 'a web application at a local address, for programs that cannot sign in',
          run: async (argv, program, call) => (await import('./http.ts')).http(argv, program, call),
        },
        'ssh-gen': {
          summary: 'a short-lived SSH certificate, for servers without authorized_keys',
          run: async (argv, program, call) => (await import('./ssh-gen.ts')).sshGen(argv, program, call),
        },
        pin: {
          summary: 'the key by which an application’s tunnel is known here',
          run: async (argv, program, call) => (await import('./pin.ts')).pin(argv, program, call),
        },
        'ssh-config': {
          summary: 'the ssh_config stanza for a hostname: print it, or write it',
          run: async (argv, program, call) =>
            (await import('./ssh-config-command.ts')).sshConfigCommand(argv, program, call),
        },
      },
    },
    cert: {
      summary: 'Client certificates: get one, renew it, see what it says',
      examples: [
        'postern cert request app.example.com --out me.pem',
        'postern access curl --auth mtls --cert me.pem https://app.example.com/',
        'postern cert renew app.example.com --cert me.pem',
      ],
      commands: {
        request: {
          summary: 'get a certificate for a key that is made here',
          run: async (argv, program, call) => (await import('./cert/request.ts')).request(argv, program, call),
        },
        renew: {
          summary: 'renew a certificate by its own key; fit for cron',
          run: async (argv, program, call) => (await import('./cert/renew.ts')).renew(argv, program, call),
        },
        show: {
          summary: 'what a certificate says',
          run: async (argv, program, call) => (await import('./cert/show.ts')).show(argv, program, call),
        },
      },
    },
    tunnel: { summary: 'Make and see tunnels, and give their daemons tokens', run: administer('tunnel') },
    policy: {
      summary: 'Try who is let in, and why: from a file or an edge',
      run: async (argv, program, call) =>
        (await import('./policy/policy.ts')).policy(['policy', ...argv], program, call),
    },
    plugins: {
      summary: 'Plugins by others: add one, see which there are, remove one',
      examples: [
        'postern plugins list',
        'postern plugins add postern-auth-api-key@1.0.0',
        'postern access tcp --plugin postern-auth-api-key --auth api-key --hostname db.example.com',
      ],
      commands: {
        list: {
          summary: 'which there are, and whether they still are what was added',
          run: async (argv, program, call) => (await import('./plugins/list.ts')).list(argv, program, call),
        },
        add: {
          summary: 'install one of exactly this version, and record what it is',
          run: async (argv, program, call) => (await import('./plugins/add.ts')).add(argv, program, call),
        },
        remove: {
          summary: 'remove one that was added',
          run: async (argv, program, call) => (await import('./plugins/remove.ts')).remove(argv, program, call),
        },
      },
    },
    admin: { summary: 'Administer an edge: applications, policies, people, tokens, audit', run: administer('admin') },
  },
}

/**
 * A word behind `access` that is no command of ours is the name of a plugin's protocol: `postern access redis --plugin …`. Where
 * there are no plugins and it is nearly a command, it was misspelt.
 */
export function protocolOf(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): string | undefined {
  const [first, second] = argv
  const own = Object.keys(COMMANDS.commands?.access?.commands ?? {})
  if (first !== 'access' || second === undefined || own.includes(second) || !/^[a-z][a-z0-9-]*$/.test(second))
    return undefined
  const plugins = env.POSTERN_PLUGINS || argv.some(word => /^--plugin(=|$)/.test(word))
  return plugins || nearest(second, own) === undefined ? second : undefined
}
