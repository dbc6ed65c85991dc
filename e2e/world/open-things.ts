// What people have open, each told apart by whether its next byte still goes through.
import { spawn } from 'node:child_process'
import { Agent, type RequestOptions, request } from 'node:https'
import { connect as connectTcp } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect as connectTls } from 'node:tls'
import { WebSocket } from 'ws'
import { Running } from './program.ts'

export const KINDS = ['http', 'websocket', 'events', 'tcp', 'ssh'] as const
export type Kind = (typeof KINDS)[number]

export interface Over {
  /** As `performance.now()` says it. */
  readonly at: number
  /** What was seen of it from outside. */
  readonly how: string
}

export interface Open extends AsyncDisposable {
  /** When it was cut; of HTTP: when a request was first refused. */
  readonly over: Promise<Over>
  /** What was seen last; undefined while it is open. */
  readonly end: Over | undefined
  /** Requests go on until one is refused. Nothing else needs to be told that something changed. */
  ask(): void
  /** @throws when nothing goes through it */
  works(): Promise<void>
}

const BEAT = 10
const PATIENCE = 10_000

class Ending {
  end: Over | undefined
  readonly over: Promise<Over>
  readonly #resolve: (over: Over) => void

  constructor() {
    const { promise, resolve } = Promise.withResolvers<Over>()
    this.over = promise
    this.#resolve = resolve
  }

  tell(how: string): void {
    this.end ??= { at: performance.now(), how }
    this.#resolve(this.end)
  }
}

/** Where a visitor comes, and with what. */
export interface Visit {
  /** `https://app.localhost:12345` */
  readonly origin: string
  readonly headers: Readonly<Record<string, string>>
  readonly isBusy: boolean
}

function placeOf({ origin }: Visit): RequestOptions {
  const { hostname, port } = new URL(origin)
  return { host: '127.0.0.1', port, servername: hostname, rejectUnauthorized: false }
}

/** One connection, request after request. */
export async function openHttp(visit: Visit): Promise<Open> {
  const { origin, headers, isBusy } = visit
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const ending = new Ending()
  let [asks, closed] = [isBusy, false]
  const ask = (): Promise<string> =>
    new Promise(resolve => {
      const { host } = new URL(origin)
      const asking = request({ ...placeOf(visit), agent, path: '/page', headers: { ...headers, host } }, answer => {
        let body = ''
        answer.setEncoding('utf8').on('data', chunk => (body += chunk))
        answer.on('error', error => resolve(error.message))
        answer.on('end', () => resolve(answer.statusCode === 200 ? 'allowed' : `${answer.statusCode} ${codeIn(body)}`))
      })
      asking.setTimeout(PATIENCE, () => asking.destroy(new Error('no answer')))
      asking.on('error', error => resolve(error.message))
      asking.end()
    })
  const first = await ask()
  if (first !== 'allowed') throw new Error(`not let in: ${first}`)
  void (async () => {
    while (!closed && ending.end === undefined) {
      await sleep(BEAT)
      if (!asks) continue
      const answer = await ask()
      if (answer !== 'allowed' && !closed) ending.tell(answer)
    }
  })()
  return {
    over: ending.over,
    get end() {
      return ending.end
    },
    ask: () => void (asks = true),
    works: async () => {
      const answer = ending.end?.how ?? (await ask())
      if (answer !== 'allowed') throw new Error(answer)
    },
    [Symbol.asyncDispose]: async () => {
      closed = true
      agent.destroy()
    },
  }
}

function codeIn(body: string): string {
  return /"code":"(\w+)"/.exec(body)?.[1] ?? 'page'
}

export async function openWebSocket(visit: Visit): Promise<Open> {
  const { origin, headers, isBusy } = visit
  const { hostname, port } = new URL(origin)
  const createConnection = () =>
    connectTls({ host: '127.0.0.1', port: Number(port), servername: hostname, rejectUnauthorized: false })
  const socket = new WebSocket(`${origin.replace('https', 'wss')}/live`, {
    origin,
    headers,
    createConnection: createConnection as never,
  })
  const ending = new Ending()
  let heard = 0
  socket.on('message', () => (heard += 1))
  socket.on('error', () => {})
  socket.on('close', (code, reason) => ending.tell(`${code} ${reason}`))
  const late = AbortSignal.timeout(PATIENCE)
  while (heard === 0) {
    if (ending.end !== undefined || late.aborted) throw new Error(`not let in: ${ending.end?.how}`)
    await sleep(BEAT)
  }
  const say = () => socket.readyState === WebSocket.OPEN && socket.send('word')
  const timer = isBusy ? setInterval(say, BEAT) : undefined
  return openOf(
    ending,
    () => heard,
    say,
    async () => {
      clearInterval(timer)
      socket.terminate()
    },
  )
}

/** Server-sent events: one answer that goes on. */
export async function openEvents(visit: Visit): Promise<Open> {
  const { origin, headers, isBusy } = visit
  const ending = new Ending()
  let heard = 0
  const { host } = new URL(origin)
  const asked = { ...headers, host, accept: 'text/event-stream' }
  const path = isBusy ? `/events?every=${BEAT}` : '/events?every=200'
  const asking = request({ ...placeOf(visit), agent: false, path, headers: asked }, answer => {
    if (answer.statusCode !== 200) ending.tell(`not let in: ${answer.statusCode}`)
    answer.on('data', () => (heard += 1)).on('error', () => {})
    answer.on('close', () => ending.tell(answer.complete ? 'looks whole' : 'cut'))
  })
  asking.on('error', error => ending.tell(error.message))
  asking.end()
  const late = AbortSignal.timeout(PATIENCE)
  while (heard === 0) {
    if (ending.end !== undefined || late.aborted) throw new Error(`not let in: ${ending.end?.how}`)
    await sleep(BEAT)
  }
  return openOf(
    ending,
    () => heard,
    () => {},
    async () => void asking.destroy(),
  )
}

/** One connection to what `postern access tcp` listens on. */
export async function openTcp(listener: Running, isBusy: boolean): Promise<Open> {
  const port = Number((await listener.says(/"address":"127\.0\.0\.1:(\d+)"/))[1])
  const socket = connectTcp(port, '127.0.0.1')
  const ending = new Ending()
  let [heard, error] = [0, 'ended']
  socket.on('data', () => (heard += 1))
  socket.on('error', reason => (error = (reason as NodeJS.ErrnoException).code ?? reason.message))
  socket.on('close', () => ending.tell(error))
  await until(
    () => heard > 0 || ending.end !== undefined,
    () => `nothing over TCP: ${listener.stderr}`,
  )
  if (ending.end !== undefined) throw new Error(`not let in: ${listener.stderr}`)
  const say = () => socket.writable && socket.write('word\n')
  const timer = isBusy ? setInterval(say, BEAT) : undefined
  return openOf(
    ending,
    () => heard,
    say,
    async () => {
      clearInterval(timer)
      socket.destroy()
      await listener.stop('SIGKILL')
    },
  )
}

/** A shell's command that OpenSSH runs, through `postern access ssh`. */
export async function openSsh(config: string, host: string, env: NodeJS.ProcessEnv, isBusy: boolean): Promise<Open> {
  const command = isBusy ? 'echo ready; while :; do echo word; sleep 0.05; done' : 'echo ready; cat'
  const child = spawn('ssh', ['-F', config, host, command], { stdio: 'pipe', env: { ...process.env, ...env } })
  const ssh = new Running(child, 'ssh')
  const ending = new Ending()
  child.stdin.on('error', () => {})
  void ssh.exit.then(code => ending.tell(`exit ${code}`))
  await ssh.says(/ready/)
  return openOf(
    ending,
    () => ssh.stdout.length,
    () => child.stdin.write('word\n'),
    async () => void (await ssh.stop('SIGKILL')),
  )
}

function openOf(ending: Ending, heard: () => number, say: () => unknown, close: () => Promise<void>): Open {
  return {
    over: ending.over,
    get end() {
      return ending.end
    },
    ask: () => {},
    works: async () => {
      const before = heard()
      say()
      await until(
        () => heard() > before || ending.end !== undefined,
        () => 'it hangs',
      )
      if (ending.end !== undefined) throw new Error(ending.end.how)
    },
    [Symbol.asyncDispose]: close,
  }
}

async function until(what: () => boolean, name: () => string): Promise<void> {
  const late = AbortSignal.timeout(PATIENCE)
  while (!what()) {
    if (late.aborted) throw new Error(name())
    await sleep(BEAT)
  }
}
