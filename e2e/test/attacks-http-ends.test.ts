import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { WebSocketServer } from 'ws'
import { lines, upgrade } from '../world/attacker.ts'
import { type Running, start } from '../world/program.ts'
import { type Site, startSite } from '../world/site.ts'
import { ask2, dialLine, http2, plain, statusOf } from '../world/web.ts'

// Requests, events and WebSockets while a daemon is killed, a daemon is stopped, an edge is stopped: each a process of its own.

const uncaught = vi.fn()
/** How often each POST was heard. */
const posts = new Map<string, number>()
const waiting = new Set<() => void>()
const web = createServer((request, response) => {
  request.on('error', () => {}).resume()
  const { url = '', method } = request
  if (method === 'POST') posts.set(url, (posts.get(url) ?? 0) + 1)
  if (url.startsWith('/events'))
    return void response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: hello\n\n')
  const answer = () => response.end(`did ${url}`)
  if (url.startsWith('/wait')) waiting.add(answer)
  else answer()
})
const echo = new WebSocketServer({ server: web })
echo.on('connection', socket => socket.on('error', () => {}).on('message', data => socket.send(`you said ${data}`)))
const release = () => {
  for (const answer of waiting) answer()
  waiting.clear()
}

let site: Site
let daemons: Running[] = []
let edge: Running | undefined
let credential: Record<string, string>
beforeAll(async () => {
  process.on('uncaughtException', uncaught).on('unhandledRejection', uncaught)
  await new Promise<void>(resolve => web.listen(0, '127.0.0.1', () => resolve()))
  const service = `http://127.0.0.1:${(web.address() as AddressInfo).port}`
  const rules = [{ name: 'in', action: 'allow' as const, include: [{ anyServiceToken: true }] }]
  site = await startSite({ 'web.localhost': { protocols: ['http'], service, rules } })
  const { id, secret } = await site.edge.administration.call('service-token.create', { body: { name: 'in' } })
  credential = { 'postern-client-id': id, 'postern-client-secret': secret }
  daemons = [site.daemon, await anotherDaemon()]
})
afterAll(async () => {
  await Promise.all([...daemons, edge].map(one => one?.stop('SIGKILL')))
  await site?.[Symbol.asyncDispose]()
  echo.close()
  web.closeAllConnections()
  web.close()
  process.off('uncaughtException', uncaught).off('unhandledRejection', uncaught)
  expect(uncaught).not.toHaveBeenCalled()
})

/** One more of the same tunnel. */
async function anotherDaemon(): Promise<Running> {
  const daemon = start('posternd', ['run', '--config', join(site.folder, 'posternd.yaml')])
  await daemon.says(/connected to the edge[\s\S]*connection=3/)
  return daemon
}

const own = () => lines(credential)
const post = (session: ReturnType<typeof http2>, path: string) =>
  ask2(session, { ':path': path, ':method': 'POST', ...credential }, 'body')

/** Something of each kind that takes its time. */
async function inFlight(name: string) {
  const [events, socket, slow] = await Promise.all([1, 2, 3].map(() => dialLine(site, 'web.localhost')))
  if (!events || !socket || !slow) throw new Error('no lines')
  events.write(plain(`GET /events-${name}`, 'web.localhost', own()))
  socket.write(upgrade('web.localhost', own()))
  slow.write(plain(`POST /wait-${name}`, 'web.localhost', `${own()}Content-Length: 4\r\n`, 'body'))
  await Promise.all([events.read(/data: hello/), socket.read(/101 [\s\S]*\r\n\r\n/)])
  await expect.poll(() => posts.get(`/wait-${name}`)).toBe(1)
  return { events, socket, slow }
}

it('row 136: a daemon is killed under load: what it carried fails at once, nothing is done twice, the other serves on', async () => {
  const session = http2(site, 'web.localhost')
  const held = Array.from({ length: 12 }, (_, at) => post(session, `/wait-held-${at}`))
  await expect.poll(() => waiting.size).toBe(12)
  const outcomes: number[] = []
  let turn = 0
  const visitor = async () => {
    while (turn < 400) {
      const at = turn++
      if (at === 150) daemons[0]?.child.kill('SIGKILL')
      outcomes.push((await post(session, `/post-${at}`)).status)
    }
  }
  await Promise.all(Array.from({ length: 10 }, visitor))
  expect([...posts].filter(([, count]) => count > 1)).toEqual([])
  expect(outcomes.filter(status => ![200, 502, 503].includes(status))).toEqual([])
  // What was answered was done, and the survivor answers.
  expect(outcomes.slice(-100)).toEqual(Array(100).fill(200))
  expect(outcomes.filter(status => status === 200).length).toBeLessThanOrEqual(
    [...posts.keys()].filter(path => path.startsWith('/post-')).length,
  )
  release()
  const answers = (await Promise.all(held)).map(({ status }) => status)
  expect(new Set(answers)).toEqual(new Set([200, 502]))
  session.destroy()
  daemons = [daemons[1] as Running, await anotherDaemon()]
})

it('row 138: a daemon that is stopped finishes what it has, takes nothing new, and a second signal ends it', async () => {
  const [leaving] = daemons.splice(0, 2, ...daemons.slice(1))
  const mine = [await inFlight('d1'), await inFlight('d2'), await inFlight('d3'), await inFlight('d4')]
  leaving?.child.kill('SIGTERM')
  await leaving?.says(/stop|drain|finish/i)
  const session = http2(site, 'web.localhost')
  for (let turn = 0; turn < 20; turn++) expect((await post(session, `/after-${turn}`)).body).toBe(`did /after-${turn}`)
  session.destroy()
  release()
  for (const { slow } of mine) expect(statusOf(await slow.read(/did \/wait-d\d/))).toBe(200)
  expect(leaving?.child.exitCode).toBe(null)
  leaving?.child.kill('SIGTERM')
  await leaving?.exit
  expect([...posts].filter(([, count]) => count > 1)).toEqual([])
  for (const { events, socket, slow } of mine) for (const one of [events, socket, slow]) one.socket.destroy()
})

it('row 138: an edge that is stopped finishes what it has, takes nothing new, and a second signal ends it', async () => {
  const { port } = site.edge
  await site.edge.close()
  const args = ['run', '--data', join(site.folder, 'edge'), '--listen', `127.0.0.1:${port}`]
  const idle = start('postern-edge', args)
  await idle.says(/edge listens/)
  await idle.stop('SIGTERM')
  edge = start('postern-edge', args)
  await edge.says(/edge listens/)
  const session = http2(site, 'web.localhost')
  await expect.poll(async () => (await post(session, '/up')).status, { timeout: 30_000, interval: 200 }).toBe(200)
  session.destroy()
  const { events, socket, slow } = await inFlight('e')
  const kept = await dialLine(site, 'web.localhost')
  kept.write(plain('GET /kept', 'web.localhost', own()))
  await kept.read(/did \/kept/)
  edge.child.kill('SIGTERM')
  await kept.read()
  await expect(dialLine(site, 'web.localhost')).rejects.toThrow()
  release()
  expect(statusOf(await slow.read(/did \/wait-e/))).toBe(200)
  expect([events.closed, edge.child.exitCode]).toEqual([false, null])
  edge.child.kill('SIGTERM')
  await edge.exit
  await Promise.all([events.read(), socket.read()])
  expect(events.text()).not.toMatch(/\r\n0\r\n\r\n$/)
  expect(edge.stderr).not.toMatch(/uncaught|unhandled|at file:/i)
  for (const one of [events, socket, slow, kept]) one.socket.destroy()
})
