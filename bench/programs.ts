import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { ENVIRONMENT } from './processes.ts'

const root = dirname(import.meta.dirname)

/** The one hostname of a measured edge. */
export const HOSTNAME = 'bench.localhost'

const APPS = { postern: 'cli', posternd: 'daemon', 'postern-edge': 'edge' } as const
export type Program = keyof typeof APPS

/** The script of a program, as it was built. */
export function scriptOf(name: Program): string {
  return join(root, 'apps', APPS[name], 'bin', `${name}.js`)
}

export function versionOf(name: Program): string {
  return JSON.parse(readFileSync(join(root, 'apps', APPS[name], 'package.json'), 'utf8')).version
}

/** What `postern-edge init` prints. */
export interface Seeded {
  readonly serviceToken: { readonly id: string; readonly secret: string }
  readonly tunnelToken: string
  readonly caFile: string
}

/** Makes an edge's folder, with {@link HOSTNAME} behind the tunnel `bench`. */
export function initialise(data: string, ...more: readonly string[]): Seeded {
  const flags = [
    '--data',
    data,
    '--hostname',
    HOSTNAME,
    '--tunnel',
    'bench',
    '--team-domain',
    'edge.localhost',
    '--json',
  ]
  const printed = execFileSync(process.execPath, [scriptOf('postern-edge'), 'init', ...flags, ...more], {
    env: ENVIRONMENT,
    encoding: 'utf8',
  })
  return JSON.parse(printed) as Seeded
}

/** Keeps a secret in a file that nobody else can read. @returns its path */
export function keep(folder: string, name: string, secret: string): string {
  const secrets = join(folder, 'secrets')
  mkdirSync(secrets, { recursive: true, mode: 0o700 })
  writeFileSync(join(secrets, name), secret, { mode: 0o600 })
  return join(secrets, name)
}
