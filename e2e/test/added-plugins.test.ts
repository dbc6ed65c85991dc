import { appendFileSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '@postern/dev'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { temporaryFolder } from '../world/folder.ts'
import { type Running, run, start } from '../world/program.ts'

const NAME = 'postern-knock'

/** One package with a way to sign in and a protocol, and nothing that it depends on. */
const PACKAGE: Readonly<Record<string, string>> = {
  'package.json': JSON.stringify({
    name: NAME,
    version: '1.0.0',
    type: 'module',
    postern: {
      api: 1,
      plugins: [
        {
          kind: 'auth',
          name: 'knock',
          reads: ['x-knock'],
          options: { client: ['word'], edge: ['word'] },
          client: './auth.js',
          edge: './verify.js',
        },
        { kind: 'protocol', name: 'loud', schemes: ['loud'], client: './loud.js', origin: './serve.js' },
      ],
    },
  }),
  'auth.js': `export default { api: 1, kind: 'auth', side: 'client', name: 'knock',
    options: { word: { type: 'secret', summary: 'the word', required: true } },
    create: ({ word }) => ({ authenticate: async () => ({ headers: { 'x-knock': word } }) }) }`,
  'verify.js': `export default { api: 1, kind: 'auth', side: 'edge', name: 'knock',
    options: { word: { type: 'secret', summary: 'the word', required: true } },
    create: ({ word }) => ({ verify: async ({ headers }) => {
      if (headers['x-knock'][0] !== word) process.exit()
      return { identity: { kind: 'user', issuer: 'knock', subject: 'ann', claims: {}, revokeKeys: ['knock:ann'] } }
    } }) }`,
  'loud.js': `import { pipeline } from 'node:stream/promises'
    export default { api: 1, kind: 'protocol', side: 'client', name: 'loud', options: {}, create: () => ({
      connect: async ({ stdio, open }, call) => {
        const stream = await open(call)
        await Promise.all([pipeline(stdio, stream, { end: true }), pipeline(stream, stdio)])
      } }) }`,
  'serve.js': `export default { api: 1, kind: 'protocol', side: 'origin', name: 'loud', options: {}, create: () => ({
      serve: async offered => {
        const stream = offered.accept()
        stream.on('data', chunk => stream.write(String(chunk).toUpperCase()))
        await new Promise(resolve => stream.on('end', () => stream.end(resolve)))
      } }) }`,
}

describe('a package that was added once is used by name: by the edge in a thread, by posternd and by postern', () => {
  const folder = temporaryFolder()
  const home = join(folder.path, 'home')
  const env = { POSTERN_HOME: home }
  const running: Running[] = []
  const secret = (name: string, text: string) => {
    const file = join(folder.path, name)
    writeFileSync(file, text, { mode: 0o600 })
    return file
  }
  const keep = (program: Running) => {
    running.push(program)
    return program
  }
  const done = async (name: 'postern' | 'postern-edge', ...args: string[]) => {
    const program = start(name, args, { env })
    const exit = await program.exit
    return { exit, stdout: program.stdout, stderr: program.stderr }
  }
  let port: number
  let daemon: () => Running
  let knock: (word: string) => Promise<{ exit: number; stdout: string; stderr: string }>

  beforeAll(async () => {
    mkdirSync(join(folder.path, 'source'))
    for (const [name, text] of Object.entries(PACKAGE)) writeFileSync(join(folder.path, 'source', name), text)
    const packed = await run('npm', ['pack', '--silent', '--pack-destination', folder.path], {
      cwd: join(folder.path, 'source'),
    })
    expect(packed.code).toBe(0)
    const added = await done('postern', 'plugins', 'add', join(folder.path, `${NAME}-1.0.0.tgz`))
    expect([added.exit, added.stderr]).toEqual([0, ''])

    port = await freePort()
    const data = join(folder.path, 'edge')
    const init = ['init', '--data', data, '--hostname', 'loud.localhost', '--team-domain', 'edge.localhost', '--json']
    const { tunnelToken, caFile } = JSON.parse((await done('postern-edge', ...init)).stdout)
    const word = secret('word', 'open-sesame')
    const config = secret(
      'edge.yaml',
      `data: ./edge\nlisten: 127.0.0.1:${port}\nplugins: [${NAME}@1.0.0]\noptions: { knock: { wordFile: ./word } }\n`,
    )
    await keep(start('postern-edge', ['run', '--config', config], { env })).says(/edge listens/)
    const rules = secret(
      'rules.yaml',
      '[{ name: ann, action: allow, include: [{ identity: { issuer: knock, subject: ann } }] }]',
    )
    expect(
      (await done('postern', 'admin', 'policy', 'set', 'loud.localhost', '--file', rules, '--data', data)).exit,
    ).toBe(0)

    const token = secret('token', tunnelToken)
    const place = ['--ca', caFile, '--plugin', NAME]
    daemon = () => {
      const edge = ['--edge', `https://edge.localhost:${port}`, '--token-file', token]
      return keep(
        start('posternd', ['--hostname', 'loud.localhost', '--url', 'loud://here:1', ...edge, ...place], { env }),
      )
    }
    await daemon().says(/connected to the edge/)
    knock = async said => {
      const file = said === 'open-sesame' ? word : secret('other', said)
      const way = ['--hostname', `loud.localhost:${port}`, '--auth', 'knock', '--word-file', file]
      const program = keep(start('postern', ['access', 'loud', ...way, ...place], { env }))
      program.child.stdin?.on('error', () => {})
      program.child.stdin?.end('hello')
      const exit = await program.exit
      return { exit, stdout: program.stdout, stderr: program.stderr }
    }
  })
  afterAll(async () => {
    await Promise.all(running.map(program => program.stop('SIGKILL')))
    folder[Symbol.dispose]()
  })

  it('carries bytes for who is let in; who makes its verifier exit is denied, and the next one is let in again', async () => {
    expect(await knock('open-sesame')).toEqual({ exit: 0, stdout: 'HELLO', stderr: '' })
    expect(await knock('friend')).toMatchObject({
      exit: 69,
      stdout: '',
      stderr: expect.stringContaining('PLUGIN_FAILED'),
    })
    await expect.poll(() => knock('open-sesame'), { timeout: 60_000 }).toMatchObject({ exit: 0, stdout: 'HELLO' })
  })

  it('row 115: once a file of it was changed, postern and posternd do not load it', async () => {
    const [installed = ''] = readdirSync(join(home, 'plugins')).filter(name => name.includes('@'))
    appendFileSync(join(home, 'plugins', installed, 'node_modules', NAME, 'serve.js'), '\n')
    expect(await knock('open-sesame')).toMatchObject({
      exit: 50,
      stderr: expect.stringContaining(`postern plugins add ${NAME}@1.0.0`),
    })
    const again = daemon()
    expect([await again.exit, again.stderr]).toEqual([50, expect.stringContaining('PLUGIN_INTEGRITY')])
  })
})
