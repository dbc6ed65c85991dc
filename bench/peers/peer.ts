import type { Load } from '../load/load.ts'

/** One of the ways to the service, at work. */
export interface Peer extends AsyncDisposable {
  /** The local port that leads to the service. */
  readonly port: number
  /** Every process that carries something. */
  readonly pids: readonly number[]
  /** A command that leads from its stdin and stdout to the service, and what it needs in its environment. */
  readonly command?: { readonly words: readonly [program: string, ...args: string[]]; readonly env: NodeJS.ProcessEnv }
}

/** A way to the service that can be built on this machine. */
export interface Contender {
  /** Short and without spaces, for `--peers`: `end-to-end/tls`, `ssh`. */
  readonly name: string
  /** What it is, and what it encrypts with. */
  readonly facts: Readonly<Record<string, string>>
  /** Fresh processes. @throws Error with what they said, when it does not get up */
  start(): Promise<Peer>
}

/** A way to the service that is not on this machine. */
export interface Missing {
  readonly name: string
  /** What would bring it. */
  readonly needs: string
}

/** Where the processes of a peer run: all of them here, or a user far away from all others. */
export interface Place {
  /** Where the edge, or the server of a peer, listens. */
  readonly address: string
  /** What command lines begin with, beside the service and beside the user. */
  readonly near: readonly string[]
  readonly far: readonly string[]
  /** The domain that the names of an edge are below. */
  readonly domain: string
}

export const HERE: Place = { address: '127.0.0.1', near: [], far: [], domain: 'localhost' }

export interface Setting {
  /** For whatever has to be written; taken away afterwards. */
  readonly folder: string
  readonly place: Place
  readonly load: Load
}

/** Everything of one kind: what can be built, and what is missing for it. */
export interface Found {
  readonly there: readonly Contender[]
  readonly missing: readonly Missing[]
}
