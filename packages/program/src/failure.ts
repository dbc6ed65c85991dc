import { factsOf, PosternError, type Speaker } from '@postern/interface'
import { printable } from './log.ts'

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
 * What a person reads when a program fails: what happened, who said so, what to do. No stack trace; with `debug` the chain
 * of causes as well.
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
    return `${JSON.stringify({ error: { code, exit: exitCodeOf(error), message, ...(speaker && { speaker }), ...(requestId && { requestId }), next, ...(causes.length > 0 && { causes }) } })}\n`
  }
  const facts: [string, string][] = []
  if (error.requestId) facts.push(['request', error.requestId])
  if (how.debug) for (const cause of causes) facts.push(['cause', cause])
  facts.push(['next', error.next])
  const said = error.speaker && error.speaker !== 'client' ? `, said by ${SAYS[error.speaker]}` : ''
  const lines = [
    `${program}: ${error.message} (${error.code}${said})`,
    ...facts.map(([name, value]) => `  ${name.padEnd(8)} ${value}`),
  ]
  return `${lines.map(printable).join('\n')}\n`
}

function causesOf(error: Error): string[] {
  const causes: string[] = []
  for (let cause = error.cause; cause instanceof Error && causes.length < 8; cause = cause.cause)
    causes.push(`${cause.name}: ${cause.message}`)
  return causes
}
