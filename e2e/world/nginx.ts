import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '@postern/dev'

export interface Nginx extends AsyncDisposable {
  readonly port: number
  /** Everything it asked itself about: a line for each request, as it understood it. */
  log(): string
}

/**
 * nginx as Debian has it, in a folder of its own.
 *
 * @param server what stands in its `server`
 * @param files what lies below its `root`
 */
export async function startNginx(server: string, files: Readonly<Record<string, string>> = {}): Promise<Nginx> {
  const folder = mkdtempSync(join(tmpdir(), 'postern-nginx-'))
  const port = await freePort()
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(folder, 'www', name, '..'), { recursive: true })
    writeFileSync(join(folder, 'www', name), text)
  }
  const kinds = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  const temporary = kinds.map(kind => `${kind}_temp_path ${folder}/${kind};`)
  writeFileSync(
    join(folder, 'nginx.conf'),
    `daemon off; master_process off; pid ${folder}/pid; error_log ${folder}/error.log;
events { worker_connections 256; }
http {
  log_format understood '$request_method $uri $status'; access_log ${folder}/access.log understood;
  ${temporary.join(' ')} keepalive_timeout 60s;
  server { listen 127.0.0.1:${port}; root ${folder}/www; ${server} }
}`,
  )
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` }
  const nginx = spawn('nginx', ['-p', folder, '-c', join(folder, 'nginx.conf')], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env,
  })
  let said = ''
  nginx.stderr?.on('data', chunk => (said += chunk))
  while (!(await answers(port))) {
    if (nginx.exitCode !== null) throw new Error(`nginx does not start (${nginx.exitCode}): ${said}`)
    await new Promise(resolve => setTimeout(resolve, 30)) // the hook has a deadline
  }
  return {
    port,
    log: () => readFileSync(join(folder, 'access.log'), 'utf8'),
    async [Symbol.asyncDispose]() {
      await stop(nginx)
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

async function stop(nginx: ChildProcess): Promise<void> {
  if (nginx.exitCode !== null) return
  const gone = once(nginx, 'exit')
  nginx.kill('SIGKILL')
  await gone
}

function answers(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy()
      resolve(true)
    }).on('error', () => resolve(false))
  })
}
