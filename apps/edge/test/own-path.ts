import { request as httpsRequest } from 'node:https'

/** One of the edge’s own paths on an application’s hostname, as a program asks it. */
export async function askOwnPath(
  port: number,
  hostname: string,
  path: string,
  { headers = {}, body }: { readonly headers?: Record<string, string>; readonly body?: object } = {},
): Promise<{ readonly status: number; readonly text: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>()
  const request = httpsRequest(
    {
      ...{ host: '127.0.0.1', port, servername: hostname, rejectUnauthorized: false, agent: false },
      ...{ method: body === undefined ? 'GET' : 'POST', path: `/.postern/${path}` },
      headers: { host: `${hostname}:${port}`, ...(body && { 'content-type': 'application/json' }), ...headers },
    },
    async response => {
      let text = ''
      for await (const chunk of response.setEncoding('utf8')) text += chunk
      resolve({ status: response.statusCode ?? 0, text })
    },
  )
  request.on('error', reject).end(body && JSON.stringify(body))
  return promise
}
