import type { EdgeHost, Json } from '@postern/interface'
import { errorOf, type Fetched, type Fetching, type FromThread, type Settled } from './wire.ts'

interface Waiting {
  readonly resolve: (value: never) => void
  readonly reject: (error: unknown) => void
}

/** What the edge lends a verifier, as its thread sees it: each call is a question to the edge. */
export class Borrowed {
  readonly host: EdgeHost
  readonly #send: (message: FromThread) => void
  readonly #waiting = new Map<number, Waiting>()
  #next = 1

  constructor(send: (message: FromThread) => void) {
    this.#send = send
    const ask = <T>(service: string, ...args: readonly unknown[]) => this.#ask<T>(service, args)
    this.host = {
      records: {
        get: id => ask<Json | undefined>('records.get', id),
        list: prefix => ask<ReadonlyMap<string, Json>>('records.list', prefix),
        put: async (id, value) => ask<void>('records.put', id, JSON.stringify(value)),
        delete: id => ask<void>('records.delete', id),
      },
      keys: { jwks: () => ask<Json>('keys.jwks'), issuer: () => ask<string>('keys.issuer') },
      attempts: { allow: key => ask<boolean>('attempts.allow', key), failed: key => ask<void>('attempts.failed', key) },
      fetch: (input, init) => this.#fetch(input, init),
    }
  }

  settle(id: number, settled: Settled): void {
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    if ('error' in settled) waiting?.reject(errorOf(settled.error))
    else waiting?.resolve(settled.value as never)
  }

  #ask<T>(service: string, args: readonly unknown[], signal?: AbortSignal): Promise<T> {
    const id = this.#next++
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    const drop = () => {
      this.#waiting.delete(id)
      this.#send({ type: 'dropped', id })
      reject(signal?.reason)
    }
    signal?.throwIfAborted()
    this.#waiting.set(id, { resolve, reject })
    this.#send({ type: 'ask', id, service, args })
    signal?.addEventListener('abort', drop, { once: true })
    return promise.finally(() => signal?.removeEventListener('abort', drop))
  }

  async #fetch(input: URL, { signal, ...init }: RequestInit & { signal: AbortSignal }): Promise<Response> {
    const request = new Request(input, init)
    const body = request.body === null ? undefined : new Uint8Array(await request.arrayBuffer())
    const { url, method, headers, redirect } = request
    const fetching: Fetching = { url, method, headers: [...headers], redirect, ...(body && { body }) }
    const answer = await this.#ask<Fetched>('fetch', [fetching], signal)
    const { status } = answer
    const isEmpty = [204, 205, 304].includes(status)
    const sent = answer.headers.map(([name, value]): [string, string] => [name, value])
    return new Response(isEmpty ? null : new Uint8Array(answer.body), { status, headers: sent })
  }
}
