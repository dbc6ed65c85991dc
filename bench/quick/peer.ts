/** One of the ways to the service, at work. */
export interface Peer extends AsyncDisposable {
  readonly name: string
  /** The local port that leads to the service. */
  readonly port: number
  /** Every process that carries something. */
  readonly pids: readonly number[]
  /** A command that leads from its stdin and stdout to the service. */
  readonly command: readonly [program: string, ...args: string[]]
  /** What it is, and what it encrypts with. */
  readonly facts: Readonly<Record<string, string>>
}
