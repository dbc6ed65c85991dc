import type { Call } from '@postern/interface'
import type { Command } from '@postern/options'
import type { Program } from '@postern/program'

/** A command of `posternd`. What it runs is imported when it is run. */
export interface DaemonCommand extends Command<DaemonCommand> {
  readonly examples?: readonly string[]
  /** `self` is the command, for its help. */
  run?(argv: readonly string[], program: Program, call: Call, self: DaemonCommand): Promise<void>
}

/** Without a command, `posternd --hostname H --url U` serves one application. */
export const COMMANDS: DaemonCommand = {
  summary: 'Serve private services through the edge. Dials out only; reaches its ingress services and nothing else.',
  run: async (argv, program, call, self) => (await import('./run-commands.ts')).runRule(argv, program, call, self),
  commands: {
    run: {
      summary: 'serve what a config file says, and read it again when it changes',
      run: async (argv, program, call, self) =>
        (await import('./run-commands.ts')).runConfig(argv, program, call, self),
    },
    login: {
      summary: 'give this machine’s daemon its own key and certificate',
      examples: [
        'posternd login --edge https://edge.example.com --tunnel home',
        'posternd login --setup-token ./home-setup',
      ],
      run: async (argv, program, call, self) =>
        (await import('./login/login-command.ts')).login(argv, program, call, self),
    },
    ingress: {
      summary: 'look at the ingress rules of a config file',
      examples: [
        'posternd ingress validate --config /etc/postern/posternd.yaml',
        'posternd ingress rule --config /etc/postern/posternd.yaml https://app.example.com/api/users',
      ],
      commands: {
        validate: {
          summary: 'say everything that is wrong with a config file, with its place',
          run: async (argv, program, call) =>
            (await import('./ingress-commands.ts')).validateCommand(argv, program, call),
        },
        rule: {
          summary: 'say which rule answers a URL, and why',
          run: async (argv, program, call) => (await import('./ingress-commands.ts')).ruleCommand(argv, program, call),
        },
      },
    },
    ready: {
      summary: 'say whether the posternd of this machine takes streams: a container’s health check',
      examples: ['posternd ready --metrics 127.0.0.1:20241'],
      run: async (argv, program, call, self) => (await import('./ready-command.ts')).ready(argv, program, call, self),
    },
    service: {
      summary: 'what runs posternd as a service of this machine',
      examples: ['posternd service print --config /etc/postern/posternd.yaml'],
      commands: {
        print: {
          summary: 'print a systemd unit that runs it confined, as nobody in particular',
          examples: [
            'posternd service print --config /etc/postern/posternd.yaml --token-file /etc/postern/tunnel-token',
            'posternd service print --hostname ssh.example.com --url ssh://localhost:22 --edge https://edge.example.com',
          ],
          run: async (argv, program, call, self) =>
            (await import('./service-command.ts')).servicePrint(argv, program, call, self),
        },
      },
    },
  },
}
