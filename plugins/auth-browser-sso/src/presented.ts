import { PosternError, type Presented } from '@postern/interface'

export const SESSION_COOKIE = '__Host-postern-session'
export const TOKEN_HEADER = 'postern-access-token'

/** What a person may present: a browser its cookie, a program its token. */
export type Shown = { readonly cookie: string } | { readonly token: string }

/**
 * What was presented, from these three places only. `Authorization` is there where the application has it judged here.
 *
 * @returns undefined when none of them has it
 * @throws PosternError BAD_USAGE: one of them twice, or two of them
 */
export function readShown({ headers }: Presented): Shown | undefined {
  const cookies = cookiesNamed(SESSION_COOKIE, valuesOf(headers, 'cookie')).map(cookie => ({ cookie }))
  const tokens = valuesOf(headers, TOKEN_HEADER).map(token => ({ token }))
  const bearers = valuesOf(headers, 'authorization').flatMap(bearerOf)
  const [shown, ...more] = [...cookies, ...tokens, ...bearers]
  if (more.length > 0) throw new PosternError('BAD_USAGE', 'a session was presented more than once')
  return shown
}

function valuesOf(headers: Presented['headers'], name: string): readonly string[] {
  return Object.hasOwn(headers, name) ? (headers[name] ?? []) : []
}

/** RFC 6265 §5.4. A name is compared as it is: another spelling of it is another cookie, which browsers guard less. */
function cookiesNamed(name: string, values: readonly string[]): string[] {
  const pairs = values.flatMap(value => (value.includes(name) ? value.split(';') : []))
  return pairs.flatMap(pair => {
    const at = pair.indexOf('=')
    return at >= 0 && pair.slice(0, at).trim() === name ? [pair.slice(at + 1).trim()] : []
  })
}

/** RFC 6750 §2.1; another scheme is none of this plugin's. */
function bearerOf(value: string): { readonly token: string }[] {
  return /^bearer /i.test(value) ? [{ token: value.slice('bearer '.length).trim() }] : []
}
