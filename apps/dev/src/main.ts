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
import { startDev } from './dev.ts'
import { doJob, doRequest } from './job.ts'
import { factsOf, nextSteps, report } from './report.ts'

const FLAGS = {
  once: { type: 'boolean', default: false, summary: 'do the jobs once, then end: 0 only if they succeeded' },
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
    const [job, request] = await Promise.all([doJob(dev, call), doRequest(dev, call)])
    const done = { up, job, request }
    program.print(values.json ? `${JSON.stringify(factsOf(dev, done))}\n` : report(dev, done))
    if (values.once) return
    program.print(values.json ? '' : nextSteps(dev))
    await new Promise<void>(resolve => call.signal.addEventListener('abort', () => resolve(), { once: true }))
    if (!values.json) program.print('\nStopped. Nothing is left behind.\n')
  } catch (error) {
    if (error !== call.signal.reason || values.once) throw error
  }
}

function help(): string {
  return renderHelp({
    usage: 'postern-dev [options]',
    summary: 'Edge, daemon and sample services in one process; does the main jobs once and shows what to try.',
    sections: [{ title: 'Options', specs: FLAGS }],
    examples: ['postern-dev --once', 'postern-dev --port 8443'],
  })
}
