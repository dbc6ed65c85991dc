import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

export interface Sizes {
  readonly rounds: number
  /** Of each measurement. */
  readonly seconds: number
  readonly say: (line: string) => void
}

/**
 * The command of a bench that is sized by `--rounds` and `--seconds`. Its result is kept in `results/NAME.json`, unless an option was
 * given.
 *
 * @param defaults of both options, as they are typed
 * @param show prints what there is to read
 * @throws Error for an option that is none
 */
export async function benchCommand<R>(
  { name, argv, usage, defaults }: { name: string; argv: readonly string[]; usage: string; defaults: [string, string] },
  run: (sizes: Sizes) => Promise<R>,
  show: (result: R) => void,
): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: { rounds: { type: 'string' }, seconds: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
  })
  if (values.help) return console.log(usage)
  const whole = (flag: string, text: string): number => {
    if (/^[1-9]\d{0,3}$/.test(text)) return Number(text)
    throw new Error(`${flag} is a whole number from 1 on, not ${JSON.stringify(text)}`)
  }
  const result = await run({
    rounds: whole('--rounds', values.rounds ?? defaults[0]),
    seconds: whole('--seconds', values.seconds ?? defaults[1]),
    say: line => console.error(`bench: ${line}`),
  })
  show(result)
  if (argv.length > 0) return
  const results = join(import.meta.dirname, 'results')
  mkdirSync(results, { recursive: true })
  writeFileSync(join(results, `${name}.json`), `${JSON.stringify(result, null, 2)}\n`)
}
