import { spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { temporaryFolder } from '../world/folder.ts'
import { type Postgres, startPostgres } from '../world/postgres.ts'
import { Running, run } from '../world/program.ts'
import { startWorld, type World } from '../world/world.ts'

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')
const missing = !['postgres', 'psql'].every(name => peers.includes(name))

describe.skipIf(missing)(
  'PostgreSQL, with its own programs (needs: apt-get install postgresql postgresql-client)',
  () => {
    const folder = temporaryFolder()
    let postgres: Postgres
    let world: World
    let port: number
    let socketFolder: string
    beforeAll(async () => {
      postgres = await startPostgres(folder.path)
      world = await startWorld({ hostname: 'db.localhost', service: `tcp://127.0.0.1:${postgres.port}` })
      socketFolder = join(folder.path, 'sockets')
      mkdirSync(socketFolder, { mode: 0o700 })
      // psql looks for a Unix socket by this name in the folder it is given as its host.
      const forwards = ['0', join(socketFolder, '.s.PGSQL.5432')].flatMap(at => ['-L', `${at}:${world.address}`])
      const access = world.access('tcp', ['--json', ...forwards], { alone: true })
      port = Number((await access.says(/"address":"127\.0\.0\.1:(\d+)"/))[1])
      await access.says(/PGSQL/)
    })
    afterAll(async () => {
      await world?.[Symbol.asyncDispose]()
      await postgres?.[Symbol.asyncDispose]()
      folder[Symbol.dispose]()
    })

    const flags = (host: string, at: number) => [
      '-h',
      host,
      '-p',
      String(at),
      '-U',
      'me',
      '-d',
      'postgres',
      '-X',
      '-A',
      '-t',
    ]
    const psql = (input: string, where = flags('127.0.0.1', port)) => run('psql', where, { input })

    it('answers psql on a local port and on a Unix socket', async () => {
      for (const where of [flags('127.0.0.1', port), flags(socketFolder, 5432)])
        expect(await psql('select 6 * 7;', where)).toEqual({ code: 0, stdout: '42\n', stderr: '' })
    })

    it('takes a large load and gives the same back', async () => {
      const load = Array.from({ length: 100_000 }, (_, at) => `${at}\t${'x'.repeat(at % 97)}`).join('\n')
      const { stderr } = await psql(`create table load (id int, text text);\n\\copy load from stdin\n${load}\n\\.\n`)
      expect(stderr).toBe('')
      const { stdout } = await psql('copy (select * from load order by id) to stdout;')
      expect(stdout.trimEnd() === load).toBe(true)
    })

    it('carries twenty sessions at once, each seeing its own', async () => {
      const texts = await Promise.all(
        Array.from({ length: 20 }, (_, at) => psql(`select pg_sleep(0.2); select ${at}, count(*) from load;`)),
      )
      expect(texts.map(({ stdout }) => stdout)).toEqual(Array.from({ length: 20 }, (_, at) => `\n${at}|100000\n`))
    })

    /** A psql that sleeps in the server, which the server confirms. */
    async function sleeping(): Promise<Running> {
      const running = new Running(spawn('psql', flags('127.0.0.1', port), { stdio: 'pipe' }), 'psql')
      running.child.stdin?.on('error', () => {}).write('select pg_sleep(600);\n')
      const active = "select count(*) from pg_stat_activity where wait_event = 'PgSleep';"
      for (let tries = 0; (await psql(active)).stdout !== '1\n'; tries += 1) expect(tries).toBeLessThan(100)
      return running
    }

    it('cancels a running query: that is a connection of its own, beside the first', async () => {
      const running = await sleeping()
      running.child.kill('SIGINT')
      await running.says(/canceling statement due to user request/)
      running.child.stdin?.end()
      await running.exit
    })

    it('tells psql that the connection is lost, at once, when the daemon is killed', async () => {
      const running = await sleeping()
      await world.daemon.stop('SIGKILL')
      expect(await running.exit).toBe(2)
      expect(running.stderr).toMatch(/connection to server was lost|server closed the connection/)
      await world.startDaemon()
      expect((await psql('select 3;')).stdout).toBe('3\n') // the same forward, made anew
    })
  },
)
