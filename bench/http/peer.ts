/** One of the ways to the pages, at work. */
export interface HttpPeer extends AsyncDisposable {
  readonly name: string
  /** `https://127.0.0.1:12345`, below which the pages are. */
  readonly url: string
  /** What a request needs to get in. */
  readonly headers: Readonly<Record<string, string>>
  /** Every process that carries something. */
  readonly pids: readonly number[]
  /** What it is, and what it encrypts with. */
  readonly facts: Readonly<Record<string, string>>
}
