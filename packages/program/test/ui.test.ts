import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { describe, expect, it } from 'vitest'

const source = join(import.meta.dirname, '../src/ui.ts')
const asking = (secret: boolean, wait: number) => `import { terminal } from ${JSON.stringify(source)}
const call = { signal: AbortSignal.timeout(${wait}), log: console }
try { console.log('[' + await terminal.ask('Token?', { secret: ${secret} }, call) + ']') }
catch (error) { console.log('{' + (error.code ?? error.name) + '}') }
process.stdin.on('data', chunk => console.log('stdin still has ' + chunk))`

type Child = ChildProcessByStdio<Writable, Readable, null>

/** What a program says, and what is typed once it has asked. */
async function answered(child: Child, typed: string): Promise<string> {
  let said = ''
  let asked = false
  for await (const chunk of child.stdout) {
    said += chunk
    if (asked || !said.includes('Token? ')) continue
    asked = true
    // Typed by a person, after the terminal is ready for it.
    setTimeout(() => child.stdin.write(typed), 200)
  }
  return said
}

function onTerminal(secret: boolean, wait = 10_000): Child {
  const inner = `printf piped | '${process.execPath}' --input-type=module -e "$POSTERN_TEST" | cat`
  return spawn('script', ['-qefc', inner, '/dev/null'], {
    env: { ...process.env, POSTERN_TEST: asking(secret, wait) },
    stdio: ['pipe', 'pipe', 'inherit'],
    timeout: 15_000,
  })
}

describe.skipIf(!existsSync('/usr/bin/script'))('a question at a terminal (needs: apt-get install bsdutils)', () => {
  it('is answered there, though stdin and stdout are pipes, which it leaves alone', async () => {
    const said = await answered(onTerminal(false), 'an answer\r')
    expect(said).toContain('[an answer]')
    expect(said).toContain('stdin still has piped')
  })

  it('shows what is typed, unless it is a secret', async () => {
    expect(await answered(onTerminal(false), 'seen\r')).toMatch(/\u001b\[0JToken\? .*seen\s+\[seen\]/)
    expect(await answered(onTerminal(true), 'unseen\r')).toMatch(/Token\? \s+\[unseen\]/)
  })

  it.each([
    ['Ctrl-C', '\u0003'],
    ['Ctrl-D', '\u0004'],
  ])('that is not answered (%s) is LOGIN_REQUIRED', async (_key, typed) => {
    expect(await answered(onTerminal(true), typed)).toContain('{LOGIN_REQUIRED}')
  })

  it('ends with the call, with its reason', async () => {
    expect(await answered(onTerminal(true, 1000), '')).toContain('{23}') // a TimeoutError's own code
  })
})

it('a question where no terminal is is LOGIN_REQUIRED, and stdin is not read', async () => {
  const child = spawn(process.execPath, ['--input-type=module', '-e', asking(true, 10_000)], {
    detached: true, // a session of its own has no terminal
    stdio: ['pipe', 'pipe', 'inherit'],
    timeout: 15_000,
  })
  child.stdin.end('piped')
  const said = await answered(child, '')
  expect(said).toContain('{LOGIN_REQUIRED}')
  expect(said).toContain('stdin still has piped')
})
