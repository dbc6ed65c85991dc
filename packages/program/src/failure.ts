import { factsOf, PosternError, type Speaker } from '@postern/interface'
import { jsonLineOf, printable } from './log.ts'

const SAYS: Readonly<Record<Speaker, string>> = {
  client: 'this machine',
  edge: 'the edge',
  daemon: 'the daemon beside the service',
  service: 'the service',
  plugin: 'a plugin',
}

/** The exit status a thrown value ends the process with: docs/errors.md lists them. */
export function exitCodeOf(error: unknown): number {
  return factsOf(PosternError.from(error).code).exit
}

/**
 * What a person reads when a program fails: what happened, who said so, what to do. With `debug` the chain of causes as well,
 * and for what nobody foresaw where it was thrown.
 *
 * ```
 * postern: the credential was not accepted (AUTH_REJECTED, said by the edge)
 *   request  5f0c…
 *   next     Check the credential, or ask the application’s administrator for a new one.
 * ```
 */
export function describeFailure(
  program: string,
  thrown: unknown,
  how: { readonly json: boolean; readonly debug: boolean },
): string {
  const error = PosternError.from(thrown)
  const causes = causesOf(error)
  if (how.json) {
    const { code, message, speaker, requestId, next } = error
    const told = {
      ...(speaker && { speaker }),
      ...(requestId && { requestId }),
      next,
      ...(causes.length > 0 && { causes }),
    }
    return jsonLineOf({ error: { code, exit: exitCodeOf(error), message, ...told } })
  }
  const facts: [string, string][] = []
  if (error.requestId) facts.push(['request', error.requestId])
  if (how.debug) facts.push(...causes.map(cause => ['cause', cause] as [string, string]), ...placesOf(error))
  facts.push(['next', error.next])
  const said = error.speaker && error.speaker !== 'client' ? `, said by ${SAYS[error.speaker]}` : ''
  const lines = [
    `${program}: ${error.message} (${error.code}${said})`,
    ...facts.map(([name, value]) => `  ${name.padEnd(8)} ${value}`),
  ]
  return `${lines.map(printable).join('\n')}\n`
}

/** Why stdout cannot be written. Undefined where its reader has gone: it wanted no more. What a full disk has looks whole and is not. */
export function unwritten(cause: NodeJS.ErrnoException): PosternError | undefined {
  if (cause.code === 'EPIPE' || cause.code === 'ECONNRESET') return undefined
  return new PosternError('STREAM_CUT', `stdout cannot be written (${cause.code ?? cause.message})`, {
    cause,
    speaker: 'client',
    next: 'What was written is incomplete. Make room, then run it again.',
  })
}

function causesOf(error: Error): string[] {
  const causes: string[] = []
  for (let cause = error.cause; cause instanceof Error && causes.length < 8; cause = cause.cause)
    causes.push(`${cause.name}: ${cause.message}`)
  return causes
}

/** Where a failure of Postern's own came from: what a report of it needs. */
function placesOf(error: PosternError): [string, string][] {
  if (error.code !== 'INTERNAL') return []
  const thrown = error.cause instanceof Error ? error.cause : error
  const frames = (thrown.stack ?? '').split('\n').filter(line => /^\s+at /.test(line))
  return frames.slice(0, 8).map(line => ['at', line.trim().slice(3)])
}
