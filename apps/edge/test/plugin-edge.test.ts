import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Logger } from '@postern/interface'
import { expect, onTestFinished, test } from 'vitest'
import { startEdge } from '../src/index.ts'
import { oddPlugin } from './odd-plugin.ts'
import { asker } from './visitor.ts'
import { call, quiet, startWorld, type World } from './world.ts'

const SECRET = 'hunter2-hunter2'

/** A request for the application; with the token of the world unless it says otherwise. */
const get = (world: World, way?: string, token: Record<string, string> = world.headers()) => {
  const lines = Object.entries({ ...token, ...(way !== undefined && { 'x-odd': way }) }).map(
    ([name, value]) => `${name}: ${value}\r\n`,
  )
  return world.ask(`GET / HTTP/1.1\r\nHost: db.localhost\r\n${lines.join('')}\r\n`)
}

test('rows 113, 114: an edge with a verifier by somebody else that blocks and exits: denied by its name, and the edge lives', {
  timeout: 60_000,
}, async () => {
  const { folder } = await oddPlugin()
  await using world = await startWorld({ addPlugins: { packages: [folder], from: '/' } })
  // 426: let in, but for no more than a plain GET.
  expect(await get(world, 'fine')).toMatchObject({ status: 426 })
  for (const way of ['blocks its thread for 10 s', 'exits with 1', 'says {allow: 1}']) {
    const denied = get(world, way)
    expect(await get(world)).toMatchObject({ status: 426 })
    const answer = await denied
    expect(answer).toMatchObject({ status: 401, code: 'PLUGIN_FAILED' })
    const [row] = await world.edge.store.readAudit({ most: 1, requestId: answer.headers['postern-request-id'] })
    expect(row).toMatchObject({ allowed: false, code: 'PLUGIN_FAILED', detail: { decision: { verifier: 'odd' } } })
    await expect.poll(async () => (await get(world, 'fine')).status, { timeout: 10_000 }).toBe(426)
  }
  const { plugins } = await world.edge.administration.call('status.get', {})
  expect(plugins).toMatchObject([
    { kind: 'auth', name: 'odd', package: folder, state: 'running', restarts: 2, because: expect.any(String) },
  ])
  expect(plugins?.[0]?.failed).toBeGreaterThanOrEqual(3)
  expect(world.opened()).toBe(0)
})

test('row 116: its secret is in no line of the log and no row', async () => {
  const { folder } = await oddPlugin()
  const lines: string[] = []
  const note = (message: string, fields: unknown) => void lines.push(JSON.stringify([message, fields]))
  const log: Logger = { debug: note, info: note, warn: note, error: note }
  const path = join(folder, 'config.yaml')
  await writeFile(path, '', { mode: 0o600 })
  const pluginOptions = new Map([['odd', { path, values: { key: SECRET, at: 'https://idp.example/a' } }]])
  await using world = await startWorld({ addPlugins: { packages: [folder], from: '/' }, pluginOptions }, [], 1, log)
  const answer = await get(world, 'tells its secret')
  expect(answer).toMatchObject({ status: 401, code: 'PLUGIN_FAILED' })
  await expect.poll(() => lines.join('\n')).toContain('my key is [redacted]')
  expect(lines.join('\n')).toContain('wrong: [redacted]')
  expect(lines.join('\n')).not.toContain(SECRET)
  const rows = await world.edge.store.readAudit({ most: 100 })
  expect(JSON.stringify(rows)).not.toContain(SECRET)
})

test('one that is called as the edge calls rows of its own sees its own alone', async () => {
  const { folder } = await oddPlugin('team-keys', {})
  await using world = await startWorld({ addPlugins: { packages: [folder], from: '/' } })
  const [[, own] = []] = world.edge.store.snapshot.records.get('team-keys') ?? []
  expect(own).toBeDefined()
  const credential = Object.entries({ ...world.headers(), 'x-team-keys': 'rows' }).map(
    ([name, value]) => `${name}: ${value}\r\n`,
  )
  expect(await world.ask(`GET / HTTP/1.1\r\nHost: db.localhost\r\n${credential.join('')}\r\n`)).toMatchObject({
    status: 426,
  })
  const { records } = world.edge.store.snapshot
  expect([...(records.get('plugin:auth:team-keys') ?? [])]).toEqual([['a/1', { n: 1 }]])
  expect(records.get('team-keys')?.size).toBe(1)
})

test('row 116: an edge with one that cannot be started, or whose name is taken, does not start', async () => {
  await using world = await startWorld({}, [], 0)
  const data = world.folder
  await world.edge.close()
  const start = async (folder: string, more: object = {}) => {
    const adding = { data, listen: { port: 0 }, addPlugins: { packages: [folder], from: '/' }, ...more }
    await using edge = await startEdge(adding, { ...call, log: quiet })
    return edge.port
  }
  const { folder: broken } = await oddPlugin('odd', {}, 'throw new Error("x")')
  await expect(start(broken)).rejects.toMatchObject({ code: 'PLUGIN_LOAD' })
  const { folder: taken } = await oddPlugin('service-token')
  await expect(start(taken)).rejects.toMatchObject({ code: 'PLUGIN_CONFLICT' })
  const { folder: transport } = await oddPlugin('odd', { kind: 'transport', reads: undefined, options: {} })
  await expect(start(transport)).rejects.toMatchObject({ code: 'PLUGIN_SIDE' })
  const { folder: fine } = await oddPlugin()
  const unknown = new Map([['ood', { path: '/x', values: {} }]])
  await expect(start(fine, { pluginOptions: unknown })).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  expect(await start(fine)).toBeGreaterThan(0)
})

test('postern-edge run: a plugin by --plugin, or by plugins: in its config file with its options', {
  timeout: 60_000,
}, async () => {
  const { folder } = await oddPlugin()
  const home = await mkdtemp(join(tmpdir(), 'postern-edge-home-'))
  onTestFinished(() => rm(home, { recursive: true, force: true }))
  const run = (...argv: string[]) => {
    const bin = join(import.meta.dirname, '../bin/postern-edge.js')
    const child = spawn(process.execPath, [bin, ...argv], { env: { PATH: process.env.PATH, POSTERN_HOME: home } })
    onTestFinished(() => void child.kill('SIGKILL'))
    let err = ''
    child.stderr.on('data', chunk => (err += chunk))
    return { child, err: () => err }
  }
  const data = join(home, 'edge')
  const init = run('init', '--data', data, '--team-domain', 'edge.localhost', '--hostname', 'db.localhost', '--json')
  const [seeded] = await once(init.child.stdout, 'data').then(([text]) => [JSON.parse(String(text))])
  const file = join(home, 'edge.yaml')
  const write = (text: string) => writeFile(file, text, { mode: 0o600 })
  const ended = async (...argv: string[]) => {
    const { child, err } = run(...argv)
    return [(await once(child, 'close'))[0], err()]
  }
  const begin = async (...argv: string[]) => {
    const { child } = run('run', '--json', '--listen', '127.0.0.1:0', ...argv)
    const [line] = await once(child.stdout, 'data')
    const { listening, caFile } = JSON.parse(String(line))
    const ask = asker(Number(listening.split(':')[1]), caFile, 'db.localhost')
    const { id, secret } = seeded.serviceToken
    const credential = `postern-client-id: ${id}\r\npostern-client-secret: ${secret}\r\n`
    const say = async (way: string) =>
      (await ask(`GET / HTTP/1.1\r\nHost: db.localhost\r\n${credential}x-odd: ${way}\r\n\r\n`)).status
    return { child, say }
  }
  const stop = async (child: ReturnType<typeof spawn>) => {
    child.kill('SIGTERM')
    expect((await once(child, 'exit'))[0]).toBe(0)
  }

  const byFlag = await begin('--data', data, '--plugin', folder)
  expect(await byFlag.say('fine')).toBe(426)
  expect(await byFlag.say('exits with 0')).toBe(401)
  await stop(byFlag.child)

  await write(`data: ./edge\nplugins: [${folder}]\noptions:\n  odd: { key: ${SECRET}, at: https://idp.example }\n`)
  const byFile = await begin('--config', file)
  expect(await byFile.say('options')).toBe(426)
  expect(await byFile.say('throws')).toBe(401)
  await stop(byFile.child)

  await write(`data: ./edge\nplugin: [x]\n`)
  expect(await ended('run', '--config', file)).toEqual([
    3,
    expect.stringMatching(/edge\.yaml:2:1.*\n.*Did you mean plugins\?/),
  ])
  await write(`data: ./edge\nplugins: [${folder}]\noptions: { odd: { kee: x } }\n`)
  expect(await ended('run', '--config', file)).toEqual([2, expect.stringContaining('kee')])
  expect(await ended('run', '--data', data, '--plugin', 'postern-auth-odd')).toEqual([
    60,
    expect.stringContaining('postern plugins add'),
  ])
})

test('the permits of a protocol by somebody else are checked when rules are saved; one that fails says no, and its name', async () => {
  const entry = { kind: 'protocol', schemes: ['odd'], origin: './edge.js', options: {}, reads: undefined }
  const source = `export default { api: 1, kind: 'protocol', side: 'edge', name: 'odd', options: {}, create: () => ({
    check: permit => {
      if (permit === 'block') for (;;);
      if (permit === 'lie') return 'no list'
      return permit.commands === undefined ? ['commands is missing'] : []
    } }) }`
  const { folder } = await oddPlugin('odd', entry, source)
  await using world = await startWorld({ addPlugins: { packages: [folder], from: '/' } })
  const save = (permit: Readonly<Record<string, unknown>>) =>
    world.edge.administration.call('application.create', {
      body: {
        hostname: 'odd.localhost',
        tunnel: 'home',
        protocols: ['odd'],
        rules: [{ name: 'all', action: 'allow', include: [{ everyone: true }], permit: permit as never }],
      },
    })
  await expect(save({ odd: {} })).rejects.toMatchObject({
    code: 'BAD_USAGE',
    message: 'permit: odd: commands is missing',
    next: expect.stringContaining('the protocol odd'),
  })
  for (const permit of ['lie', 'block'])
    await expect(save({ odd: permit })).rejects.toMatchObject({
      code: 'EDGE_UNAVAILABLE',
      message: expect.stringContaining('plugin odd'),
    })
  expect(world.edge.store.snapshot.applications.has('odd.localhost')).toBe(false)
  await expect
    .poll(() => save({ odd: { commands: ['GET'] }, other: 1 }), { timeout: 15_000 })
    .toMatchObject({ hostname: 'odd.localhost' })
})
