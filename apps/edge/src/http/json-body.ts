import { type Json, PosternError, type Presented } from '@postern/interface'
import { parseStrictly } from '../admin/json.ts'
import type { Exchange } from '../front/exchange.ts'

/** Milliseconds for the whole of it. */
const BODY_TIME = 15_000

/**
 * Refuses what a page in a browser sends. A browser adds credentials of its own (cookies, client certificates) to whatever a page
 * asks for; what is for programs alone must not be had by a page of the application in its visitor's name.
 *
 * @returns what is presented, without what only browsers keep: a cookie is for the application’s pages
 * @throws PosternError ACCESS_DENIED
 */
export function presentedByProgram({ presented }: Pick<Exchange, 'presented'>): Presented {
  const { cookie: _cookie, ...headers } = presented.headers
  const mark = ['origin', 'sec-fetch-site', 'sec-fetch-mode'].find(name => Object.hasOwn(headers, name))
  if (mark === undefined) return { ...presented, headers }
  throw new PosternError('ACCESS_DENIED', `this is for programs, not for pages in a browser (${mark} was sent)`, {
    speaker: 'edge',
    next: 'Use the command postern, or another program.',
  })
}

/**
 * The body of a request for a path of our own, as JSON. Nothing of it is read before the head says that it may be one.
 *
 * @param most bytes
 * @throws PosternError BAD_USAGE, REQUEST_TOO_LARGE, TIMED_OUT; `signal.reason`
 */
export async function readJsonBody(exchange: Exchange, most: number, signal: AbortSignal): Promise<Json> {
  const { presented, response } = exchange
  const [type = '', ...more] = presented.headers['content-type'] ?? []
  if (more.length > 0 || !/^application\/json *(;|$)/i.test(type))
    throw new PosternError('BAD_USAGE', 'the body must be application/json', { speaker: 'edge' })
  if (Number(presented.headers['content-length']?.[0] ?? 0) > most) throw tooLarge(most)
  if (presented.headers.expect !== undefined) response.writeContinue()
  return parseStrictly(await readAll(exchange.request, most, signal))
}

async function readAll(request: Exchange['request'], most: number, signal: AbortSignal): Promise<Buffer> {
  const { promise: stopped, reject } = Promise.withResolvers<never>()
  const stop = () => reject(signal.reason)
  const late = () => reject(new PosternError('TIMED_OUT', 'the body did not come in time', { speaker: 'edge' }))
  stopped.catch(() => {}) // nobody may be waiting for it
  const timer = setTimeout(late, BODY_TIME)
  signal.addEventListener('abort', stop)
  if (signal.aborted) stop()
  try {
    return await Promise.race([collect(request, most), stopped])
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', stop)
  }
}

/** What is not read any more is whose who answers: the connection may be of use yet. */
function collect(request: Exchange['request'], most: number): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  const chunks: Buffer[] = []
  let size = 0
  request.on('data', (chunk: Buffer) => {
    size += chunk.length
    if (size <= most) chunks.push(chunk)
    else reject(tooLarge(most))
  })
  request.once('end', () => resolve(Buffer.concat(chunks)))
  request.once('close', () => reject(new PosternError('STREAM_CUT', 'the body did not arrive', { speaker: 'client' })))
  return promise
}

function tooLarge(most: number): PosternError {
  return new PosternError('REQUEST_TOO_LARGE', `the body is larger than ${most} bytes`, { speaker: 'edge' })
}
