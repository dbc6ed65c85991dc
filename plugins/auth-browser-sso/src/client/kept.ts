import { createHash } from 'node:crypto'
import type { Account, Call, Secrets } from '@postern/interface'
import type { ApplicationToken, TeamTokens } from './tokens.ts'

/** A sign-in at one team. */
export interface SignIn extends TeamTokens {
  readonly account: Account
  /** Hostnames that tokens are kept for: they go when it goes. */
  readonly applications: readonly string[]
  /** Refresh tokens of earlier sign-ins of the same person, oldest first: what they opened goes on, until somebody signs out. */
  readonly earlier?: readonly string[]
}

export interface KeptTeam {
  readonly signIn?: SignIn
  /** When a sign-in was last begun and not finished, in milliseconds since the epoch: who waited for it does not begin another. */
  readonly failedAt?: number
}

export interface KeptApplication extends ApplicationToken {
  readonly issuer: string
  readonly resource: string
  readonly account: Account
}

/**
 * What this plugin keeps on this machine: of each team its sign-in, of each application its last token, and which teams the
 * person trusts. Each is a secret of its own, since keyrings take little at once (2,560 bytes on Windows).
 */
export class Kept {
  readonly #secrets: Secrets

  constructor(secrets: Secrets) {
    this.#secrets = secrets
  }

  async team(issuer: string): Promise<KeptTeam> {
    return (await this.#read<KeptTeam>(keyOf('team', issuer))) ?? {}
  }

  async putTeam(issuer: string, team: KeptTeam): Promise<void> {
    await this.#secrets.set(keyOf('team', issuer), JSON.stringify(team))
  }

  async application(hostname: string): Promise<KeptApplication | undefined> {
    return this.#read<KeptApplication>(keyOf('application', hostname))
  }

  async putApplication(hostname: string, kept: KeptApplication): Promise<void> {
    await this.#secrets.set(keyOf('application', hostname), JSON.stringify(kept))
  }

  /** The sign-in with the tokens of its applications. */
  async deleteSignIn(issuer: string): Promise<void> {
    const { signIn } = await this.team(issuer)
    for (const hostname of signIn?.applications ?? []) await this.#secrets.delete(keyOf('application', hostname))
    await this.#secrets.delete(keyOf('team', issuer))
  }

  /** Teams that the person said yes to, by their issuers. */
  async trusted(): Promise<readonly string[]> {
    return (await this.#read<readonly string[]>(TRUSTED)) ?? []
  }

  async trust(issuer: string, call: Call): Promise<void> {
    const add = async () =>
      this.#secrets.set(TRUSTED, JSON.stringify([...new Set([...(await this.trusted()), issuer])]))
    await this.#secrets.exclusively(TRUSTED, add, call)
  }

  /** One process at a time signs in at a team, renews, or signs out. The kernel takes it back from one that was killed. */
  exclusively<T>(issuer: string, work: () => Promise<T>, call: Call): Promise<T> {
    return this.#secrets.exclusively(keyOf('team', issuer), work, call)
  }

  /** What cannot be read is as good as none: the person signs in again. */
  async #read<T>(key: string): Promise<T | undefined> {
    const text = await this.#secrets.get(key)
    try {
      return text === undefined ? undefined : (JSON.parse(text) as T)
    } catch {
      return undefined
    }
  }
}

const TRUSTED = 'browser-sso.teams'

/** Readable in a list of files or in the keyring’s own program, where a name is no longer than most are. */
function keyOf(kind: 'team' | 'application', name: string): string {
  const plain = name.replace('https://', '').replace(':', '_')
  const short = plain.length <= 150 ? plain : createHash('sha256').update(plain).digest('hex')
  return `browser-sso.${kind}.${short}`
}
