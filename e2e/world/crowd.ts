import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { constants, setPriority, tmpdir } from 'node:os'
import { join } from 'node:path'
import { writeJson } from '@postern/connector/files'
import { createConnector, createIdentity, signConnector } from '@postern/connector/issue'
import { type EdgeConfig, initialiseEdge, type RunningEdge, startEdge } from '@postern/edge'
import type { Call } from '@postern/interface'
import { countHeldBuffers } from '@postern/program'
import { quiet } from './lab.ts'
import { type Running, start } from './program.ts'

const TUNNEL = 'home'
export const APP = 'db.localhost'
export const TEAM = 'edge.localhost'

/** Who asks: of the same application, with a credential of their own. */
export interface Who {
  readonly port: number
  readonly caFile: string
  readonly hostname: string
  readonly id: string
  readonly secret: string
  readonly mode: Mode
}

export type Mode = 'hop' | 'end-to-end'

/**
 * An edge in this process; a daemon with one connection, so that all who go through the edge share one session; the service. Two
 * visitors of one application: whoever attacks is a process of its own, and so is who asks.
 */
export interface Crowd extends AsyncDisposable {
  readonly edge: RunningEdge
  readonly daemon: Running
  /** Connections that the service has now. */
  open(): Promise<number>
  visitor(name: 'victim' | 'attacker', mode: Mode): Who
  /** Starts a script beside this file, a process that is told what to do; a {@link Worker} is one without a crowd. */
  worker<Asked extends object, Told extends object>(script: string): Worker<Asked, Told>
}

export async function startCrowd(config: Partial<EdgeConfig> = {}): Promise<Crowd> {
  countHeldBuffers() // as `postern-edge` does
  await using owned = new AsyncDisposableStack()
  const folder = mkdtempSync(join(tmpdir(), 'postern-crowd-'))
  owned.defer(() => rmSync(folder, { recursive: true, force: true }))
  const data = join(folder, 'edge')
  const call: Call = { signal: new AbortController().signal, log: quiet }
  const service = owned.use(new Worker<object, { port: number; open: number }>('crowd-service.ts'))
  const { port } = await service.ask({})
  const { caFile } = await initialiseEdge({ data, teamDomain: TEAM }, call)
  const edge = owned.use(await startEdge({ data, listen: { port: 0 }, grace: 500, ...config }, call))
  const team = `https://${TEAM}:${edge.port}`
  await enrol(edge, folder, team, caFile)
  const rules = [{ name: 'machines', action: 'service' as const, include: [{ anyServiceToken: true as const }] }]
  await edge.administration.call('application.create', { body: { hostname: APP, tunnel: TUNNEL, rules } } as never)
  const tokens = {
    victim: await edge.administration.call('service-token.create', { body: { name: 'victim' } }),
    attacker: await edge.administration.call('service-token.create', { body: { name: 'attacker' } }),
  }
  const file = join(folder, 'posternd.yaml')
  const ingress = [{ hostname: APP, service: `tcp://127.0.0.1:${port}` }]
  writeFileSync(file, JSON.stringify({ edge: team, ca: caFile, connections: 1, ingress }), { mode: 0o600 })
  const daemon = start('posternd', ['run', '--config', file], { env: { POSTERN_HOME: join(folder, 'daemon') } })
  owned.defer(async () => void (await daemon.stop('SIGKILL')))
  await daemon.says(/connected to the edge/)
  const parts = owned.move()
  return {
    edge,
    daemon,
    open: async () => (await service.ask({})).open,
    visitor: (name, mode) => ({ port: edge.port, caFile, hostname: APP, mode, ...tokens[name] }),
    worker: script => parts.use(new Worker(script)),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

/** What `posternd login` leaves, so that the daemon can be joined to clients. */
async function enrol({ administration }: RunningEdge, folder: string, team: string, caFile: string): Promise<void> {
  const identity = await createIdentity(TUNNEL)
  await administration.call('tunnel.create', { body: { name: TUNNEL, identity: identity.cert } })
  const one = await createConnector()
  const certificate = await signConnector(identity, TUNNEL, one)
  const body = { certificate, host: one.host }
  const { token, grantKeys } = await administration.call('connector.enrol', { params: { name: TUNNEL }, body })
  await writeJson(join(folder, 'daemon', 'connector.json'), {
    ...{ version: 1, edge: team, ca: readFileSync(caFile, 'utf8'), tunnel: TUNNEL, connector: one.id },
    ...{ token, certificate, key: one.key, identity: identity.cert, ...(grantKeys && { grantKeys }) },
  })
}

/** A process that answers what it is asked, one thing after the other. */
export class Worker<Asked extends object, Told extends object> implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #gone: Promise<never>

  /** @param flags of Node.js */
  constructor(script: string, flags: readonly string[] = []) {
    this.#child = fork(join(import.meta.dirname, script), { execArgv: [...flags] })
    this.#gone = once(this.#child, 'exit').then(() => Promise.reject(new Error(`${script} ended`)))
    this.#gone.catch(() => {}) // told to whoever asks
  }

  async ask(asked: Asked, seconds = 240): Promise<Told> {
    const answer = once(this.#child, 'message', { signal: AbortSignal.timeout(seconds * 1000) })
    this.#child.send(asked)
    const [told] = (await Promise.race([answer, this.#gone])) as [Told & { failed?: string }]
    if (told.failed !== undefined) throw new Error(told.failed)
    return told
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exit = once(this.#child, 'exit')
    const late = setTimeout(() => this.#child.kill('SIGKILL'), 5_000)
    this.#child.disconnect() // it ends what it has started, too
    await exit
    clearTimeout(late)
  }
}

/**
 * For a process of an attack, by default this one: in life they have machines of their own. Where processors are fewer than busy programs, edge and daemon,
 * this crowd's and another's, go before them, and what is measured is Postern's order and not the system's.
 */
export function givesWay(pid = 0): void {
  setPriority(pid, constants.priority.PRIORITY_LOW)
}

/** The other end of a {@link Worker}. @param end before the process does */
export function work<Asked, Told extends object>(
  doing: (asked: Asked) => Promise<Told>,
  end: () => Promise<void> = async () => {},
): void {
  process.on('message', (asked: Asked) => {
    doing(asked).then(
      told => process.send?.(told),
      (error: Error) => process.send?.({ failed: error.stack ?? error.message }),
    )
  })
  process.on('disconnect', () => void end().finally(() => process.exit()))
}
