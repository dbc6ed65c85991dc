import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { TeamServer } from './team-server.ts'

/** Fewer than the 50 that are promised: each is a program of 60 MB. test/client.test.ts has 50 in one. */
const COMMANDS = 12

const team = new TeamServer()
const folder = mkdtempSync(join(tmpdir(), 'postern-commands-'))
const server = createServer(async (request, response) => {
  const [path = '', query = ''] = (request.url ?? '').split(/\?(.*)/s)
  if (path === '/approve') return response.end(team.approve(new URL(query)).href)
  const headers = { authorization: request.headers.authorization ?? '' }
  const body = await text(request)
  const url = new URL(path, String(request.headers['x-origin']))
  const answer = await team.fetch(url, { headers, ...(body !== '' && { body }) })
  response.writeHead(answer.status).end(await answer.text())
})
beforeAll(() => once(server.listen(0, '127.0.0.1'), 'listening'))
afterAll(() => {
  server.close()
  rmSync(folder, { recursive: true })
})

interface Command {
  readonly child: ChildProcess
  /** Once it has said something. */
  readonly began: Promise<unknown>
  readonly said: Promise<string>
}

function command(...more: string[]): Command {
  const { port } = server.address() as AddressInfo
  const child = spawn(process.execPath, [join(import.meta.dirname, 'command.ts'), folder, String(port), ...more], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let said = ''
  child.stdout.on('data', chunk => (said += chunk))
  return { child, began: once(child.stdout, 'data'), said: once(child, 'close').then(() => said) }
}

it('many commands lead to one sign-in, also when the one that leads is killed', { timeout: 90_000 }, async () => {
  const leading = command('hangs')
  await leading.began // it has the person’s attention
  const others = Array.from({ length: COMMANDS }, () => command())
  await new Promise(resolve => setTimeout(resolve, 500)) // some of them wait by now
  expect(team.sessions).toHaveLength(0)
  leading.child.kill('SIGKILL')
  const said = await Promise.all(others.map(one => one.said))
  const lines = said.flatMap(one => one.trim().split('\n'))
  expect(lines.filter(line => line === 'opened')).toHaveLength(1)
  expect(new Set(lines.filter(line => line.startsWith('token-'))).size).toBe(1)
  expect(lines.filter(line => line.startsWith('token-'))).toHaveLength(COMMANDS)
  expect(team.sessions).toHaveLength(1)
})
