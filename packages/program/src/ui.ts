import { closeSync, openSync } from 'node:fs'
import { Writable } from 'node:stream'
import type { ReadStream, WriteStream } from 'node:tty'
import { type Call, PosternError, type Ui } from '@postern/interface'
import { mayHaveBrowser, openBrowser } from './browser.ts'
import { printable } from './log.ts'

const [READ, WRITE] =
  process.platform === 'win32' ? (['CONIN$', 'CONOUT$'] as const) : (['/dev/tty', '/dev/tty'] as const)

/**
 * The person at the terminal, beside stdin and stdout, which may be the pipe. Without a terminal, lines go to stderr and a
 * question is LOGIN_REQUIRED: nobody could answer it.
 */
export const terminal: Ui = {
  get interactive() {
    return mayHaveBrowser(process.env) || hasTerminal()
  },
  show: line => void process.stderr.write(`${printable(line)}\n`),
  open: async url => openBrowser(url, process.env),
  ask: (question, how, call) => ask(question, how.secret, call),
}

async function ask(question: string, secret: boolean, call: Call): Promise<string> {
  call.signal.throwIfAborted()
  const { createInterface } = await import('node:readline/promises') // most runs ask nothing
  const { input, output } = await openTerminal()
  const nothing = new Writable({ write: (_chunk, _encoding, done) => done() })
  const lines = createInterface({ input, output: secret ? nothing : output, terminal: true, historySize: 0 })
  try {
    const prompt = `${printable(question)} `
    if (secret) output.write(prompt) // what readline writes is not shown
    return await lines.question(prompt, { signal: call.signal })
  } catch (cause) {
    call.signal.throwIfAborted()
    throw new PosternError('LOGIN_REQUIRED', 'the question was not answered', { cause }) // Ctrl-C, Ctrl-D, the terminal is gone
  } finally {
    lines.close()
    if (secret) output.write('\n')
    input.destroy()
    output.destroy()
  }
}

function hasTerminal(): boolean {
  try {
    closeSync(openSync(WRITE, 'w'))
    return true
  } catch {
    return false
  }
}

async function openTerminal(): Promise<{ input: ReadStream; output: WriteStream }> {
  const tty = await import('node:tty')
  const opened: number[] = []
  try {
    opened.push(openSync(READ, 'r'), openSync(WRITE, 'w'))
    const [read = -1, write = -1] = opened
    return { input: new tty.ReadStream(read), output: new tty.WriteStream(write) }
  } catch (cause) {
    for (const fd of opened) closeSync(fd)
    throw new PosternError('LOGIN_REQUIRED', 'there is no terminal to ask at', { cause })
  }
}
