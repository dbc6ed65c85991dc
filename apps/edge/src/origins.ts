/** Where people reach what this edge serves: the one place that knows the public port. */
export class Origins {
  readonly teamDomain: string
  readonly #port: () => number

  /** @param port the public one, asked for when an origin is: an edge that takes any free port knows it once it listens */
  constructor(teamDomain: string, port: () => number) {
    this.teamDomain = teamDomain
    this.#port = port
  }

  /** `https://hostname[:port]`, as browsers write an origin (RFC 6454 §6.1): port 443 is left out. */
  of(hostname: string): string {
    const port = this.#port()
    return port === 443 ? `https://${hostname}` : `https://${hostname}:${port}`
  }

  /** The team domain's: issuer of all that this edge signs, and of the people in its directory. */
  get team(): string {
    return this.of(this.teamDomain)
  }
}
