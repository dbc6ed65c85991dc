import { type Call, PosternError, type Ui } from '@postern/interface'
import { type Claimant, type CommandLine, type Pending, resolvePending, type Sources } from '@postern/options'
import type { Program } from '@postern/program'
import type { Registry } from '@postern/registry'
import { about } from '../about.ts'
import { listenLocally } from '../listener.ts'
import { showAddress } from '../local-address.ts'
import { named } from '../named.ts'
import { chooseFor, type Run } from '../run.ts'
import { openStdio } from '../stdio.ts'
import { makeWay } from '../way.ts'
import { UP_FLAGS } from './flags.ts'
import type { Made } from './fleet.ts'
import { Keeper } from './keeper.ts'
import type { Planned } from './plan.ts'

/** What a run was told. */
export interface Wanting {
  readonly program: Program
  readonly line: CommandLine
  readonly sources: Omit<Sources, 'file'>
}

/** And what it makes forwards with. */
export interface Making extends Wanting {
  readonly registry: Registry
  readonly ui: Ui
  readonly changed: () => void
}

const HINTS = { own: UP_FLAGS, sides: ['client'] as const }

/**
 * Gives each forward the flags of the plugins it uses.
 *
 * @returns makes one forward, and dials nobody
 * @throws PosternError PLUGIN_*; OPTION_UNKNOWN, OPTION_CONFLICT, BAD_USAGE for what is on the command line and no forward’s
 */
export async function makerOf(
  forwards: readonly Planned[],
  making: Making,
  call: Call,
): Promise<(planned: Planned, call: Call) => Promise<Made>> {
  const { registry, line } = making
  const used = new Map<Planned, readonly Claimant[]>()
  for (const planned of forwards) used.set(planned, await pluginsOf(planned, making, call))
  const all = new Map([...used.values()].flat().map(one => [`${one.kind} ${one.name}`, one]))
  const resolved = resolvePending(line, [...all.values()], { ...HINTS, ownersOf: option => registry.ownersOf(option) })
  const [word] = resolved.words
  if (word !== undefined) throw new PosternError('BAD_USAGE', `nothing is done with ${JSON.stringify(word)}`)
  return async (planned, inner) => {
    const pending = line.pending.filter(one => isFor(one, used.get(planned) ?? []))
    try {
      return await makeOne(planned, { ...making, line: { ...line, pending } }, inner)
    } catch (error) {
      throw about(planned.hostname, error)
    }
  }
}

async function pluginsOf(planned: Planned, making: Making, call: Call): Promise<readonly Claimant[]> {
  const { plugins } = await chooseFor(runOf(planned, making, call), planned.hostname, planned.protocol, call)
  const claimants: Claimant[] = []
  for (const { kind, name } of [plugins.protocol, ...plugins.transports, ...plugins.auth]) {
    if (!making.registry.find(kind, name)?.entry.options?.client?.length) continue // nothing on a command line is for it
    claimants.push({ kind, name, specs: (await making.registry.load(kind, name, 'client', call)).options })
  }
  return claimants
}

function isFor(pending: Pending, claimants: readonly Claimant[]): boolean {
  try {
    resolvePending({ given: [], words: [], pending: [{ name: pending.name, inline: 'x', at: 0 }] }, claimants, HINTS)
    return true
  } catch (error) {
    // Whose it is was settled before: what is wrong with its value is told by who reads it.
    return !PosternError.is(error) || error.code !== 'OPTION_UNKNOWN'
  }
}

async function makeOne(planned: Planned, making: Making, call: Call): Promise<Made> {
  await using owned = new AsyncDisposableStack()
  let keeper: Keeper | undefined
  const run = runOf(planned, making, call)
  const way = owned.use(await makeWay(planned.hostname, planned.protocol, run, news => keeper?.hear(news), call))
  for (const warning of way.warnings) call.log.warn(warning, { application: planned.hostname })
  const stdio = openStdio() // no forward uses it; the contract has it
  owned.defer(() => void stdio.destroy())
  keeper = new Keeper(showAddress(planned.local), {
    client: way.client,
    protocol: way.protocol,
    listen: (inner, enough) => listenLocally(planned.local, inner, enough),
    stdio,
    log: named(call.log, planned.hostname),
    changed: making.changed,
  })
  const parts = owned.move()
  return { planned, keeper, [Symbol.asyncDispose]: () => parts.disposeAsync() }
}

/** A file of forwards stands for itself: the user’s own config file is not asked. */
function runOf({ section }: Planned, { program, line, registry, sources, ui }: Making, { log }: Call): Run {
  const own = { ...sources, given: line.given, pending: line.pending }
  return { program, line, registry, log, sources: own, ui, config: { section: () => section } }
}
