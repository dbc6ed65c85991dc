import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { BrowserContext, Page } from 'playwright-core'
import { startBrowser, type TestBrowser } from './browser.ts'
import { Canaries } from './canaries.ts'
import { ProcessWatch } from './outputs.ts'
import { type ProgramName, type Running, start } from './program.ts'

/** Programs and browsers of one folder, of which everything that they say and show is kept. */
export class Life implements AsyncDisposable {
  readonly folder: string = mkdtempSync(join(tmpdir(), 'postern-canaries-'))
  /** Of the edge, and of who uses the command line. */
  readonly data: string = join(this.folder, 'edge')
  readonly home: string = join(this.folder, 'home')
  /** What is meant to be secret. */
  readonly tokens: string = join(this.folder, 'tokens')
  readonly canaries: Canaries = new Canaries()
  /** What browsers asked for, with the Referer. */
  readonly asked: { readonly url: string; readonly referer: string }[] = []
  readonly watch: ProcessWatch = new ProcessWatch()
  readonly #running: { readonly name: string; readonly program: Running }[] = []
  #browser: TestBrowser | undefined

  constructor() {
    for (const folder of [this.home, this.tokens]) mkdirSync(folder, { mode: 0o700 })
  }

  get caFile(): string {
    return join(this.data, 'ca/ca.pem')
  }

  /** A program that says all it can; {@link showLogs} shows what that was. */
  begin(name: ProgramName, args: readonly string[], env: NodeJS.ProcessEnv = {}): Running {
    const program = start(name, [...args, '--log-level', 'debug'], { env: { POSTERN_HOME: this.home, ...env } })
    this.#running.push({ name: `${name} ${args.slice(0, 2).join(' ')}`, program })
    return program
  }

  /** `postern` to its end: what it says on stderr is a log, what on stdout is its result. @throws unless it succeeds */
  async postern(args: readonly string[], input = ''): Promise<string> {
    const env = { POSTERN_HOME: this.home, POSTERN_CA: this.caFile, POSTERN_LOG_LEVEL: 'debug' }
    const program = start('postern', args, { env })
    program.child.stdin?.end(input)
    const exit = await program.exit
    this.canaries.show(`log of postern ${args.slice(0, 3).join(' ')}`, program.stderr)
    if (exit !== 0) throw new Error(`postern ${args.join(' ')}: ${exit} ${program.stderr}`)
    return program.stdout
  }

  /** `postern` for who administers this machine’s edge. */
  admin(args: readonly string[], input = ''): Promise<string> {
    return this.postern([...args, '--data', this.data, '--json'], input)
  }

  async person(): Promise<BrowserContext> {
    this.#browser ??= await startBrowser()
    const context = await this.#browser.person()
    context.on('request', async request => {
      const entry = { url: request.url(), referer: '' }
      this.asked.push(entry)
      const headers: Record<string, string> = await request.allHeaders().catch(() => ({}))
      entry.referer = headers.referer ?? ''
    })
    return context
  }

  async page(context: BrowserContext, url: string, name: string = url): Promise<Page> {
    const shown = await context.newPage()
    await shown.goto(url)
    this.canaries.show(`page ${name}`, await shown.content())
    return shown
  }

  /** What a browser was given is to be looked for. */
  async keepCookies(context: BrowserContext, who: string): Promise<void> {
    for (const { name, domain, value } of await context.cookies())
      if (name.startsWith('__Host-postern-')) this.canaries.keep(`${who}’s ${name} at ${domain}`, value)
  }

  /** @param meant what a program had to say, though it is looked for: the address that a person was to open */
  showLogs(meant: string): void {
    for (const { name, program } of this.#running)
      this.canaries.show(`log of ${name}`, (program.stdout + program.stderr).replaceAll(meant, ''))
    this.watch.look()
    for (const [name, text] of this.watch.outputs) this.canaries.show(name, text)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.watch[Symbol.dispose]()
    await this.#browser?.[Symbol.asyncDispose]()
    await Promise.all(this.#running.map(({ program }) => program.stop('SIGKILL')))
    rmSync(this.folder, { recursive: true, force: true })
  }
}
