import { spawn } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'

/** A program that uses its stdio as one duplex: it answers first, ends its side, and only then reads to the end. */
const program = (
  body: string,
) => `import { openStdio } from ${JSON.stringify(join(import.meta.dirname, '../dist/stdio.js'))}
const io = openStdio(); io.on('error', error => { process.stderr.write(error.code); process.exitCode = 9 }); ${body}`

function run(body: string, stdio: ['pipe' | number, 'pipe' | number]) {
  const child = spawn(process.execPath, ['--input-type=module', '-e', program(body)], { stdio: [...stdio, 'pipe'] })
  let said = ''
  child.stderr?.on('data', chunk => (said += chunk))
  return {
    child,
    ended: new Promise<{ code: number | null; said: string }>(resolve =>
      child.once('close', code => resolve({ code, said })),
    ),
  }
}

describe('stdin and stdout as one duplex', () => {
  it('closes stdout for real while stdin is still read: the program behind sees the end and may go on sending', async () => {
    const { child, ended } = run(
      `io.end('answer'); let n = 0; io.on('data', c => n += c.length).on('end', () => process.stderr.write(String(n)))`,
      ['pipe', 'pipe'],
    )
    let text = ''
    for await (const chunk of child.stdout!) text += chunk // ends only because stdout was closed
    child.stdin!.write('123')
    child.stdin!.end('45')
    expect([text, await ended]).toEqual(['answer', { code: 0, said: '5' }])
  })

  it('keeps every byte of a large stream in both directions', async () => {
    const { child, ended } = run(`io.pipe(io)`, ['pipe', 'pipe'])
    const sent = Buffer.alloc(8 * 1024 * 1024, 'abcdefg')
    child.stdin!.end(sent)
    const parts: Buffer[] = []
    for await (const chunk of child.stdout!) parts.push(chunk)
    expect(Buffer.concat(parts).equals(sent)).toBe(true)
    expect((await ended).code).toBe(0)
  })

  it('works on files', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'postern-stdio-'))
    writeFileSync(join(folder, 'in'), 'from a file')
    const files = [openSync(join(folder, 'in'), 'r'), openSync(join(folder, 'out'), 'w')] as const
    const { ended } = run(`io.pipe(io)`, [files[0], files[1]])
    for (const file of files) closeSync(file)
    expect((await ended).code).toBe(0)
    expect(readFileSync(join(folder, 'out'), 'utf8')).toBe('from a file')
    rmSync(folder, { recursive: true })
  })

  it('fails when the program behind it is gone, instead of sending into nothing', async () => {
    const { child, ended } = run(
      `setInterval(() => io.write('x'.repeat(100000)), 1).unref(); setTimeout(() => {}, 10000).unref(); io.resume(); io.on('close', () => process.exit())`,
      ['pipe', 'pipe'],
    )
    child.stdout!.destroy()
    expect((await ended).said).toContain('EPIPE')
  })
})
