import { basename, dirname } from 'node:path'
import { type Call, PosternError } from '@postern/interface'
import { type HostOptionSpecs, parseCommandLine, readOptions, renderHelp, type Values } from '@postern/options'
import { jsonLineOf, type Program, pluginPlaces, readConfigFile, readLevel } from '@postern/program'
import { createRegistry, type Registry } from '@postern/registry'
import { about } from '../about.ts'
import { builtins } from '../builtin.ts'
import { secretsOf } from '../run.ts'
import { EXAMPLE, UP_FLAGS } from './flags.ts'
import { Fleet } from './fleet.ts'
import { makerOf, type Wanting } from './make.ts'
import { type Mistake, type Plan, pluginsOf, readPlan } from './plan.ts'
import { tryOptions } from './try-options.ts'
import { Lines, Table, type View } from './view.ts'

/** A file that was read without finding anything wrong, and the plugins it is to be read with. */
interface Ready {
  readonly plan: Plan
  readonly registry: Registry
}

/** `postern access up -f FILE`: keeps every forward of a file up, and shows how each is, until the user stops it. */
export async function up(argv: readonly string[], program: Program, outer: Call): Promise<void> {
  const line = parseCommandLine(argv, UP_FLAGS)
  if (line.given.some(one => one.option === 'help')) return program.print(await help(outer))
  const { env, cwd, redactor, stop } = program
  const sources = { given: line.given, pending: line.pending, env, cwd, redactor, secrets: secretsOf(true) }
  const { values } = await readOptions(UP_FLAGS, sources, outer.signal)
  const level = values.verbose ? 'debug' : readLevel(values.logLevel)
  const wanting: Wanting = { program, line, sources }
  const signal = AbortSignal.any([stop.gently, stop.now]) // until there is something to drain
  const ready = await readFile(values, wanting, { signal, log: program.log(level) })
  if (values.check) return tellChecked(ready.plan, program)
  using view = openView(program, level, values.file)
  await run(ready, values, wanting, view, { ...outer, log: view.log })
}

async function run(
  ready: Ready,
  values: Values<typeof UP_FLAGS>,
  wanting: Wanting,
  view: View,
  call: Call,
): Promise<void> {
  const { stop } = wanting.program
  const fleet = new Fleet()
  const changed = () => view.changed(fleet.members)
  const follow = async ({ plan, registry }: Ready) => {
    const make = await makerOf(plan.forwards, { ...wanting, registry, ui: view.ui, changed }, call)
    await fleet.follow(plan.forwards, make, call)
    changed()
  }
  await follow(ready)
  let reloading = Promise.resolve()
  const reload = async () => {
    try {
      await follow(await readFile(values, wanting, call))
      call.log.info('the file was read anew', { file: values.file })
    } catch (thrown) {
      const { code, message, next } = PosternError.from(thrown)
      call.log.error(`the file was read anew, and everything stays as it was: ${message}`, { code, next })
    }
  }
  // On a terminal it means that the window was closed.
  if (!process.stdout.isTTY) {
    stop.onHangup(() => {
      reloading = reloading.then(reload)
    })
  }
  const ending = () => {
    view.ending()
    fleet.finish()
  }
  if (stop.gently.aborted) ending()
  else stop.gently.addEventListener('abort', ending, { once: true })
  await fleet.over()
  call.signal.throwIfAborted()
  if (!stop.gently.aborted) throwFirst(fleet)
}

/** Nothing is left: the first of the file says why. */
function throwFirst(fleet: Fleet): void {
  for (const { planned, keeper } of fleet.members)
    if (keeper.status.state === 'failed') throw about(planned.hostname, keeper.status.error)
}

/** @throws PosternError CONFIG_INVALID, with the one mistake there is, or once all were logged; FILE_*, PLUGIN_* */
async function readFile(
  { file: path, plugin }: Values<typeof UP_FLAGS>,
  { program, sources }: Wanting,
  call: Call,
): Promise<Ready> {
  const file = await readConfigFile(path)
  const registry = createRegistry(builtins)
  const places = pluginPlaces(program)
  for (const one of plugin) await registry.add(one, places)
  if (plugin.length === 0)
    for (const one of pluginsOf(file)) await registry.add(one, { ...places, from: dirname(path) })
  const plan = readPlan(file, registry)
  const values =
    plan.mistakes.length === 0 ? await tryOptions(plan, { registry, program, secrets: sources.secrets }, call) : []
  refuseMistakes([...plan.mistakes, ...values], path, call)
  return { plan, registry }
}

function refuseMistakes(mistakes: readonly Mistake[], path: string, { log }: Call): void {
  const [first] = mistakes
  if (!first) return
  const { next } = first
  if (mistakes.length === 1) throw new PosternError('CONFIG_INVALID', first.message, next === undefined ? {} : { next })
  for (const one of mistakes) log.error(one.message, { next: one.next })
  throw new PosternError('CONFIG_INVALID', `${path}: ${mistakes.length} mistakes, each told above`, {
    next: 'Correct them; nothing was begun.',
  })
}

function tellChecked({ path, forwards }: Plan, program: Program): void {
  const count = forwards.length === 1 ? '1 forward' : `${forwards.length} forwards`
  const facts = { file: path, forwards: forwards.length }
  program.print(program.json ? jsonLineOf(facts) : `${path}: ${count}, no mistake\n`)
}

function openView(program: Program, level: ReturnType<typeof readLevel>, file: string): View {
  const { env, json } = program
  const { stdout } = process
  if (json || !stdout.isTTY || env.TERM === 'dumb') return new Lines(program, level)
  const colour = !env.NO_COLOR
  return new Table({ program, level, terminal: stdout, colour, name: basename(file) })
}

async function help(call: Call): Promise<string> {
  const registry = createRegistry(builtins)
  const sections = [{ title: 'Options', specs: UP_FLAGS as HostOptionSpecs }]
  for (const name of ['browser-sso', 'service-token', 'mtls']) {
    const { options } = await registry.load('auth', name, 'client', call)
    sections.push({ title: `--auth ${name}`, specs: options })
  }
  const page = renderHelp({
    usage: 'postern access up -f FILE [--check] [options]',
    summary:
      'Keep many applications reachable, each at a port or socket of its own, and show how each is. What fails is begun again;\nwhat the edge refuses is not.',
    sections,
    examples: [
      'postern access up -f forwards.yaml',
      'postern access up -f forwards.yaml --check',
      'postern access up -f forwards.yaml --json | jq -r \'select(.event == "failed") | .message\'',
    ],
  })
  return `${page}\nA file (docs/up.md has every key):\n${EXAMPLE.replace(/^/gm, '  ').trimEnd()}\n`
}
