import { spawn } from 'node:child_process'
import { accessSync, constants, readFileSync } from 'node:fs'
import { request } from 'node:https'
import type { LookupFunction } from 'node:net'
import { delimiter, join } from 'node:path'
import { type Call, PosternError } from '@postern/interface'
import type { Dev } from './dev.ts'
import { SSH_HOST } from './names.ts'

/** How long the one job may take: an ssh that hangs must not hang `npm start -- --once`. */
const DEADLINE = 60_000
const COMMAND = 'echo "hello from $(hostname), signed in as $(id -un)"'

export interface JobDone {
  /** What was run, as a person would type it. */
  readonly command: string
  readonly output: string
  readonly milliseconds: number
}

/**
 * The main job, once, for real: a command on the private SSH server, through client, edge and daemon. By the machine's own
 * ssh where there is one, else by the SSH client of this process over the same `postern access ssh`.
 *
 * @throws PosternError with what ssh said, when it did not succeed
 */
export async function doJob(dev: Dev, call: Call): Promise<JobDone> {
  const began = performance.now()
  const output = findSsh()
    ? await byOpenSsh(dev, call)
    : await (await import('./ssh2-client.ts')).bySsh2(
        dev,
        COMMAND,
        AbortSignal.any([call.signal, AbortSignal.timeout(DEADLINE)]),
      )
  return {
    command: `ssh -F ${dev.ssh.configFile} ${SSH_HOST}`,
    output: output.trim(),
    milliseconds: performance.now() - began,
  }
}

/**
 * A page of the sample application, for the service token, as any program of a machine asks for one: HTTPS and two headers.
 *
 * @throws PosternError with the status, when it is not 200
 */
export async function doRequest(dev: Dev, call: Call): Promise<JobDone> {
  const began = performance.now()
  const { id, secretFile } = dev.serviceToken
  const headers = { 'postern-client-id': id, 'postern-client-secret': readFileSync(secretFile, 'utf8').trim() }
  const signal = AbortSignal.any([call.signal, AbortSignal.timeout(DEADLINE)])
  const output = await new Promise<string>((resolve, reject) => {
    // A loopback address for the name, which not every resolver knows to be this machine; SNI and Host say the name.
    const lookup: LookupFunction = (_host, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }])
    const asked = request(
      dev.urls.app,
      { headers, ca: readFileSync(dev.caFile), agent: false, signal, lookup },
      answer => {
        let text = ''
        answer.setEncoding('utf8').on('data', chunk => (text += chunk))
        answer.on('error', reject).on('end', () => {
          if (answer.statusCode === 200) resolve(text)
          else
            reject(new PosternError('INTERNAL', `the page came with the status ${answer.statusCode}: ${text.trim()}`))
        })
      },
    )
    asked.on('error', reject).end()
  })
  return {
    command: `${dev.postern} access curl --id ${id} --secret-file ${secretFile} ${dev.urls.app}`,
    output: output.trim(),
    milliseconds: performance.now() - began,
  }
}

function findSsh(): boolean {
  return (process.env.PATH ?? '').split(delimiter).some(folder => {
    try {
      accessSync(join(folder, 'ssh'), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

function byOpenSsh(dev: Dev, call: Call): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn('ssh', ['-F', dev.ssh.configFile, '-o', 'BatchMode=yes', SSH_HOST, COMMAND], {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: DEADLINE,
    })
    const stop = () => child.kill()
    call.signal.addEventListener('abort', stop)
    let [out, said] = ['', '']
    child.stdout.on('data', chunk => (out += chunk))
    child.stderr.on('data', chunk => (said += chunk))
    child.once('error', reject)
    child.once('close', code => {
      call.signal.removeEventListener('abort', stop)
      if (code === 0) resolve(out)
      else
        reject(
          call.signal.aborted
            ? call.signal.reason
            : new PosternError('INTERNAL', `ssh ended with ${code}: ${said.trim()}`),
        )
    })
  })
}
