import { PosternError } from '@postern/interface'

/** The same failure, saying which application it is about where its message does not. What is none of ours stays as it is. */
export function about(hostname: string, thrown: unknown): unknown {
  if (!PosternError.is(thrown) || thrown.message.includes(hostname.replace(/:\d+$/, ''))) return thrown
  const { code, message, speaker, requestId, refusal, next, cause } = thrown
  return new PosternError(code, `${hostname}: ${message}`, {
    next,
    ...(cause !== undefined && { cause }),
    ...(speaker && { speaker }),
    ...(requestId && { requestId }),
    ...(refusal && { refusal }),
  })
}
