import { pathToFileURL } from 'node:url'
import { isPromise } from 'node:util/types'
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import type { Call, Json, Logger, OptionSpecs, Presented } from '@postern/interface'
import { createRegistry } from '@postern/registry'
import { Borrowed } from './borrowed.ts'
import { type FromThread, type Settled, type ThreadStart, type ToThread, tell } from './wire.ts'

// The edge side of a plugin by somebody else, alone in its thread. Whatever it does here ends with the thread; kept.ts starts another one.

if (parentPort !== null) void run(parentPort, workerData as ThreadStart)

async function run(port: MessagePort, { file, package: name, entry }: ThreadStart): Promise<void> {
  const send = (message: FromThread) => port.postMessage(message)
  const log = loggerTo(send)
  const call: Call = { signal: new AbortController().signal, log }
  const borrowed = new Borrowed(send)
  const running = new Map<number, AbortController>()
  const load = { edge: () => import(pathToFileURL(file).href) as Promise<unknown> }
  const registry = createRegistry([{ package: name, entry, load }])
  let ask: ((given: unknown, call: Call) => unknown) | undefined
  let end: () => PromiseLike<void> | void = () => {}
  let specs: OptionSpecs = {}

  const answer = async (id: number, given: unknown) => {
    const abort = new AbortController()
    running.set(id, abort)
    const settled = await settle(() => ask?.(given, { signal: abort.signal, log }))
    running.delete(id)
    try {
      send({ type: 'answer', id, settled })
    } catch (error) {
      // What cannot be copied is no data: a Proxy, a function.
      send({ type: 'answer', id, settled: { error: tell(error) } })
    }
  }

  const create = async (values: Readonly<Record<string, unknown>>) => {
    if (entry.kind === 'protocol') {
      const rules = await registry.create('protocol', entry.name, 'edge', values, borrowed.host, call)
      ask = async permit => rules.check(permit as Json)
      end = () => rules[Symbol.asyncDispose]?.()
    } else {
      const verifier = await registry.create('auth', entry.name, 'edge', values, borrowed.host, call)
      ask = (presented, inner) => verifier.verify(presented as Presented, inner)
      end = () => verifier[Symbol.asyncDispose]?.()
    }
    send({ type: 'created' })
  }

  const hear = async (message: ToThread) => {
    if (message.type === 'call') await answer(message.id, message.given)
    else if (message.type === 'abort') running.get(message.id)?.abort(new Error('nobody waits for the answer any more'))
    else if (message.type === 'reply') borrowed.settle(message.id, message.settled)
    else if (message.type === 'create') await create(withUrls(message.values, specs))
    else {
      await end()
      send({ type: 'ended' })
    }
  }
  port.on('message', (message: ToThread) => hear(message).catch(error => send({ type: 'failed', error: tell(error) })))

  try {
    specs = (await registry.load(entry.kind as 'auth', entry.name, 'edge', call)).options
    send({ type: 'loaded', options: specs })
  } catch (error) {
    send({ type: 'failed', error: tell(error) })
  }
}

/** A URL crosses as text. */
function withUrls(values: Readonly<Record<string, unknown>>, specs: OptionSpecs): Readonly<Record<string, unknown>> {
  const urlOf = (name: string, value: unknown) =>
    specs[name]?.type === 'url' && typeof value === 'string' ? new URL(value) : value
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, urlOf(name, value)]))
}

/** Of what a visitor sent some has no text, and some is without end: whatever it costs to find out, it costs here. */
function inWords(fields: object): Readonly<Record<string, string | number>> {
  const words = (value: unknown) => {
    try {
      return typeof value === 'number' ? value : String(value).slice(0, 256)
    } catch {
      return 'something without a text'
    }
  }
  const some = Object.entries(fields).slice(0, 16)
  return Object.fromEntries(some.map(([name, value]) => [name.slice(0, 64), words(value)]))
}

/** A look-alike of a promise would run its own code when it is awaited; nobody needs one. */
async function settle(work: () => unknown): Promise<Settled> {
  try {
    const returned = work()
    if (!isPromise(returned)) return { error: { message: 'not a promise' } }
    return { value: await returned }
  } catch (error) {
    return { error: tell(error) }
  }
}

function loggerTo(send: (message: FromThread) => void): Logger {
  const at =
    (level: keyof Logger): Logger['info'] =>
    (message, fields = {}) => {
      try {
        send({ type: 'log', level, message: String(message).slice(0, 1024), fields: inWords(fields) })
      } catch {
        // A message that is no text: the line is not worth the thread.
      }
    }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}
