// The example of each published package's README, run as a stranger would: in a folder that has the packages from their tarballs and
// nothing of this repository. Used by pack-check.ts.
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

export interface Documented {
  readonly name: string
  readonly readme: string
  /** Names of its commands. */
  readonly programs: readonly string[]
  readonly exports: readonly string[]
}

interface Block {
  readonly language: string
  readonly text: string
}

/** Milliseconds. One that starts an edge takes five seconds on a busy machine. */
const DEADLINE = 60_000
const AT_ONCE = 3

/**
 * A program's README shows command lines, every word of which has to be there; a library's begins with an example that ends by itself.
 *
 * @param folder where all of them are installed
 */
export async function checkReadmes(all: readonly Documented[], folder: string): Promise<string[]> {
  const waiting = [...all]
  const wrong: string[] = []
  const worker = async () => {
    for (let one = waiting.shift(); one; one = waiting.shift()) wrong.push(...(await checkReadme(one, folder)))
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
  return wrong.sort()
}

async function checkReadme(one: Documented, folder: string): Promise<string[]> {
  const blocks = blocksOf(readFileSync(one.readme, 'utf8'))
  const found = [
    ...(one.programs.length > 0 ? await checkCommands(one, blocks, folder) : []),
    ...(one.exports.length > 0 ? await checkExample(one, blocks, folder) : []),
  ]
  return found.map(what => `${one.name}: README: ${what}`)
}

function blocksOf(markdown: string): Block[] {
  const fences = markdown.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)
  return [...fences].map(([, language = '', text = '']) => ({ language, text }))
}

async function checkExample({ name }: Documented, blocks: readonly Block[], folder: string): Promise<string[]> {
  const imports = new RegExp(`from ['"]${name}(/[\\w/-]+)?['"]`)
  const block = blocks.find(({ language, text }) => /^(js|ts)$/.test(language) && imports.test(text))
  if (!block) return ['no example imports it']
  const file = join(folder, `example-${name.replace(/\W+/g, '-')}.${block.language}`)
  writeFileSync(file, block.text)
  const said = await run(process.execPath, [file], folder)
  return said.failed ? [`its example does not run\n${said.text}`] : []
}

/** Every command of its shell blocks that is one of its programs: the words before the flags are a command, and it has these flags. */
async function checkCommands({ programs }: Documented, blocks: readonly Block[], folder: string): Promise<string[]> {
  const shell = blocks.filter(({ language }) => language === 'sh').map(({ text }) => text.replace(/\\\n\s*/g, ' '))
  const lines = shell.flatMap(text => text.split('\n')).map(asTyped)
  const typed = lines.filter(line => programs.includes(line.split(' ')[0] ?? ''))
  if (typed.length === 0) return [`no example types ${programs.join(' or ')}`]
  const helps = new Map<string, Promise<Said>>()
  const wrong: string[] = []
  for (const line of typed) {
    const [program = '', ...words] = line.split(/\s+/)
    const path = words.slice(0, words.findIndex(word => !/^[a-z][a-z-]*$/.test(word)) >>> 0)
    const key = [program, ...path].join(' ')
    const help = helps.get(key) ?? run(join(folder, 'node_modules', '.bin', program), [...path, '--help'], folder)
    helps.set(key, help)
    const { failed, text } = await help
    if (failed) wrong.push(`${key} --help fails\n${text}`)
    const flags = words.filter(word => /^--[a-z]/.test(word)).map(word => word.replace(/=.*/, ''))
    for (const flag of flags) if (!text.includes(flag.replace(/^--no-/, ''))) wrong.push(`${key} has no ${flag}`)
  }
  return [...new Set(wrong)]
}

/** Without its comment; `npm create x` is the command `create-x`. */
function asTyped(line: string): string {
  return line
    .replace(/\s+#.*$/, '')
    .trim()
    .replace(/^npm (?:create|init) (\S+?)(?:@\S+)?(?: --)?(?= |$)/, 'create-$1')
}

interface Said {
  readonly failed: boolean
  readonly text: string
}

async function run(program: string, args: readonly string[], cwd: string): Promise<Said> {
  try {
    const { stdout, stderr } = await promisify(execFile)(program, args, { cwd, timeout: DEADLINE })
    return { failed: false, text: `${stdout}${stderr}` }
  } catch (error) {
    const {
      stdout = '',
      stderr = '',
      message,
    } = error as Error & { readonly stdout?: string; readonly stderr?: string }
    return { failed: true, text: `${stdout}${stderr}`.trim() || message }
  }
}
