import type { HostOptionSpecs } from '@postern/options'
import { APPLICATION_FLAGS, RUN_FLAGS } from '../flags.ts'

const { pin: _one, ...applications } = APPLICATION_FLAGS // a pin is one application’s
const { config: _other, ...run } = RUN_FLAGS

/** The flags of `postern access up` that belong to no plugin. What is said for applications holds for every forward, before the file. */
export const UP_FLAGS = {
  file: { type: 'path', required: true, aliases: ['f'], summary: 'the forwards, YAML or JSON' },
  check: { type: 'boolean', default: false, summary: 'say what is wrong with the file, and do nothing else' },
  ...applications,
  ...run,
} as const satisfies HostOptionSpecs

/** What stands in a file for people to begin with. */
export const EXAMPLE = `auth: browser-sso # the default: one sign-in for all of them
forwards:
  - { hostname: db.example.com, listen: 5432 }
  - { hostname: ssh.example.com, listen: localhost:8022, protocol: ssh, endToEnd: true }
  - hostname: queue.example.com
    listen: ./queue.sock
    id: pst_1 # a service token, for this one alone
    secretFile: ./queue-secret
`
