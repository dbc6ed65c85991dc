import { type Call, PosternError } from '@postern/interface'
import {
  createSecretReader,
  type HostOptionSpecs,
  parseCommandLine,
  readOptions,
  renderHelp,
  resolvePending,
} from '@postern/options'
import { PROGRAM_FLAGS, type Program, readLevel, runProgram } from '@postern/program'
import { type Dev, ECHO_HOST, SSH_HOST, startDev } from './dev.ts'
import { doJob, type JobDone } from './job.ts'

const FLAGS = {
  once: { type: 'boolean', default: false, summary: 'do the job once, then end: 0 only if it succeeded' },
  port: {
    type: 'number',
    default: 0,
    summary: 'the edge’s port on loopback; 0 is any free one',
    env: ['POSTERN_DEV_PORT'],
  },
  ...PROGRAM_FLAGS,
  logLevel: { ...PROGRAM_FLAGS.logLevel, default: 'warn' },
} as const satisfies HostOptionSpecs

await runProgram('postern-dev', main)

async function main(program: Program, outer: Call): Promise<void> {
  const line = parseCommandLine(program.argv, FLAGS)
  const { words } = resolvePending(line, [], { own: FLAGS })
  if (line.given.some(one => one.option === 'help')) return program.print(help())
  if (words.length > 0) throw new PosternError('BAD_USAGE', `nothing is done with ${JSON.stringify(words[0])}`)
  const { values } = await readOptions(
    FLAGS,
    {
      given: line.given,
      pending: line.pending,
      env: program.env,
      cwd: program.cwd,
      secrets: createSecretReader(process.stdin),
      redactor: program.redactor,
    },
    outer.signal,
  )
  const call: Call = { signal: program.stop.gently, log: program.log(readLevel(values.logLevel)) }
  const began = performance.now()
  try {
    await using dev = await startDev({ port: values.port }, call)
    const up = performance.now() - began
    const job = await doJob(dev, call)
    program.print(
      values.json
        ? `${JSON.stringify({ port: dev.port, folder: dev.folder, serviceToken: dev.serviceToken, caFile: dev.caFile, up: Math.round(up), job })}\n`
        : report(dev, up, job),
    )
    if (values.once) return
    program.print(values.json ? '' : nextSteps(dev))
    await new Promise<void>(resolve => call.signal.addEventListener('abort', () => resolve(), { once: true }))
    if (!values.json) program.print('\nStopped. Nothing is left behind.\n')
  } catch (error) {
    if (error !== call.signal.reason || values.once) throw error
  }
}

function report(dev: Dev, up: number, job: JobDone): string {
  const ms = (time: number) => `${Math.round(time)} ms`.padStart(8)
  return `
Postern is up: an edge on 127.0.0.1:${dev.port}, a daemon that dialled it, and two private services behind it.

  ssh ──▶ postern access ssh ──▶ edge ◀── posternd ──▶ ${dev.ssh.what}

${ms(up)}  edge, daemon and services started; the daemon signed in with its tunnel token
${ms(job.milliseconds)}  an SSH command went through, let in by a service token. It answered:

            ${job.output}
`
}

function nextSteps(dev: Dev): string {
  return `
Try it yourself, in another terminal:

  # a shell on the private server
  ssh -F ${dev.ssh.configFile} ${SSH_HOST}

  # a private TCP service, on stdin and stdout: its last line comes after your end
  printf 'hello\\n' | ${dev.postern} access tcp --hostname ${ECHO_HOST}

  # the same service on a local port, and the SSH server on another
  ${dev.postern} access tcp -L 7007:${ECHO_HOST} -L 7022:${SSH_HOST}

  # what a stranger gets
  ${dev.postern} access tcp --hostname ${ECHO_HOST} --id ${dev.serviceToken.id} --secret wrong

  # who came, and who may; then take it away, and whatever is open ends
  ${dev.postern} admin audit --limit 10
  ${dev.postern} admin policy show ${ECHO_HOST}
  ${dev.postern} admin service-token revoke ${dev.serviceToken.id}

Ctrl-C stops everything and removes ${dev.folder}.
`
}

function help(): string {
  return renderHelp({
    usage: 'postern-dev [options]',
    summary: 'Edge, daemon and sample services in one process; does the main job once and shows what to try.',
    sections: [{ title: 'Options', specs: FLAGS }],
    examples: ['postern-dev --once', 'postern-dev --port 8443'],
  })
}
