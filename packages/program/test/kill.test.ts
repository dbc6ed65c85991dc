import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { fileSecrets } from '../src/secrets.ts'

test('row 156: kill -9 while a token is written leaves the old one or the new one, never a part', {
  timeout: 60_000,
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'postern-killed-'))
  for (let round = 0; round < 8; round += 1) {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'victim.ts'), folder], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const gone = once(child, 'exit')
    let said = ''
    for await (const chunk of child.stdout.setEncoding('utf8')) {
      said += chunk
      if (said.split('\n').length > 5 + round * 3) child.kill('SIGKILL')
    }
    await gone
    const last = Number(said.slice(0, said.lastIndexOf('\n')).split('\n').at(-1))
    const text = (await fileSecrets(folder).get('token')) ?? ''
    const found = Number.parseInt(text, 10)
    expect(text).toBe(`${found} `.repeat(20_000))
    expect([last, last + 1]).toContain(found) // what was acknowledged, or the one that was being written
    for (const name of await readdir(folder)) expect((await stat(join(folder, name))).mode & 0o077).toBe(0)
  }
  await rm(folder, { recursive: true })
})
