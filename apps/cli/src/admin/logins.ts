import { join } from 'node:path'
import { type Call, PosternError } from '@postern/interface'
import { fileSecrets, type Program, userFolder } from '@postern/program'

/** What is remembered of an edge. */
export interface Login {
  readonly token: string
  /** Absolute path of the PEM file that `--ca` named. */
  readonly ca?: string
}

export interface Logins {
  /** The origin of the edge of the last login. */
  readonly current?: string
  /** By origin: `https://edge.example.com:8443`. */
  readonly edges: Readonly<Record<string, Login>>
}

const KEY = 'admin-logins'
const NONE: Logins = { edges: {} }

/** @throws PosternError FILE_UNSAFE, FILE_UNREADABLE */
export async function readLogins({ env, redactor }: Pick<Program, 'env' | 'redactor'>): Promise<Logins> {
  const text = await secretsOf(env).get(KEY)
  if (text === undefined) return NONE
  const logins = parse(text, env)
  for (const { token } of Object.values(logins.edges)) redactor.add(token)
  return logins
}

/**
 * Changes what is remembered, one process at a time. It is written once before the work: a token that cannot be kept must not
 * be made.
 */
export async function changeLogins(
  program: Pick<Program, 'env' | 'redactor'>,
  work: (logins: Logins) => Promise<Logins>,
  call: Call,
): Promise<void> {
  const secrets = secretsOf(program.env)
  await secrets.exclusively(
    KEY,
    async () => {
      const before = await readLogins(program)
      await secrets.set(KEY, JSON.stringify(before))
      await secrets.set(KEY, JSON.stringify(await work(before)))
    },
    call,
  )
}

function secretsOf(env: Program['env']) {
  return fileSecrets(join(userFolder(env), 'secrets'))
}

function parse(text: string, env: Program['env']): Logins {
  try {
    const { current, edges } = JSON.parse(text) as Logins
    return { ...(current !== undefined && { current: new URL(current).origin }), edges: { ...edges } }
  } catch (cause) {
    const file = join(userFolder(env), 'secrets', KEY)
    const next = 'Delete the file, then log in again.'
    throw new PosternError('FILE_UNREADABLE', `${file} is not what login wrote`, { cause, next })
  }
}
