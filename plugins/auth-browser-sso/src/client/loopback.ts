import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { PosternError } from '@postern/interface'
import { page } from './page.ts'

const PATH = '/callback'
/** Milliseconds, for whoever connects and says nothing. */
const PATIENCE = 10_000

/** Where the browser comes back to with the answer of the authorization server (RFC 8252, section 7.3). */
export interface Loopback extends AsyncDisposable {
  readonly redirectUri: string
  /**
   * The first request that `judge` takes for the answer: everything else gets an error page and ends nothing, since any program
   * of this machine, and any page of the browser, can come here.
   *
   * @param judge gives undefined for what is not the answer
   */
  answer<T>(judge: (url: URL) => Promise<T | undefined>, signal: AbortSignal): Promise<Arrived<T>>
}

export interface Arrived<T> {
  readonly value: T
  /** Tells the person, in the browser, how it went. */
  show(title: string, text: string): Promise<void>
}

/** Listens at a free port of 127.0.0.1, or of [::1] where that is not there. @throws PosternError LISTEN_FAILED */
export async function listenForAnswer(): Promise<Loopback> {
  const server = createServer({ headersTimeout: PATIENCE, requestTimeout: PATIENCE, maxHeaderSize: 16 * 1024 })
  server.maxConnections = 16
  const host = await listen('127.0.0.1').catch(() => listen('::1'))
  server.on('error', () => {}) // a connection that could not be taken: the browser tries again
  const { port } = server.address() as AddressInfo
  const authority = host === '::1' ? `[::1]:${port}` : `${host}:${port}`

  function listen(at: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const failed = (cause: NodeJS.ErrnoException) =>
        reject(new PosternError('LISTEN_FAILED', `no port of ${at} can be listened on (${cause.code})`, { cause }))
      server.once('error', failed).listen(0, at, () => {
        server.off('error', failed)
        resolve(at)
      })
    })
  }

  return {
    redirectUri: `http://${authority}${PATH}`,
    answer(judge, signal) {
      return new Promise((resolve, reject) => {
        const leave = () => reject(signal.reason)
        if (signal.aborted) return leave()
        signal.addEventListener('abort', leave, { once: true })
        server.on('request', async (request, response) => {
          const url = callbackIn(request, authority)
          const value = url && (await judge(url).catch(() => undefined))
          if (value === undefined) return send(response, 400, 'This is not the sign-in that is waited for', FOREIGN)
          server
            .removeAllListeners('request')
            .on('request', (_request, late) => send(late, 410, 'Already answered', DONE))
          signal.removeEventListener('abort', leave)
          resolve({ value, show: (title, text) => send(response, 200, title, text) })
        })
      })
    },
    [Symbol.asyncDispose]: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

const FOREIGN = 'Close this page and use the one that your terminal shows. The sign-in goes on waiting.'
const DONE = 'Your terminal has its answer. You can close this page.'

/** Only the exact path, asked of us by our own name: a page elsewhere that has its name point here is none (DNS rebinding). */
function callbackIn({ method, url = '', headers }: IncomingMessage, authority: string): URL | undefined {
  const found = URL.parse(url, `http://${authority}`)
  return method === 'GET' && headers.host === authority && url.startsWith('/') && found?.pathname === PATH
    ? found
    : undefined
}

/** Resolves when it is on its way, or the browser has gone. */
function send(response: ServerResponse, status: number, title: string, text: string): Promise<void> {
  return new Promise(resolve => {
    response.on('close', resolve)
    response.writeHead(status, {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
      'cache-control': 'no-store',
      'referrer-policy': 'no-referrer',
      connection: 'close',
    })
    response.end(page(title, text), () => resolve())
  })
}
