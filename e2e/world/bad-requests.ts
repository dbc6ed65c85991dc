const FORM = { 'content-type': 'application/x-www-form-urlencoded' }
const JSON_BODY = { 'content-type': 'application/json' }

/** What good requests carry. */
export interface Carried {
  readonly cookie: string
  readonly teamCookie: string
  readonly accessToken: string
  readonly serviceToken: { readonly id: string; readonly secret: string }
  readonly adminToken: string
  readonly password: string
  readonly provider: { readonly code: string; readonly state: string }
}

export interface BadRequest {
  readonly method: string
  readonly url: string
  readonly headers: Record<string, string>
  readonly body?: string
}

export interface Hosts {
  readonly team: string
  readonly app: string
  /** Where the bearer is not let in, and what does not answer. */
  readonly closed: string
  readonly down: string
  readonly unknown: string
}

/** Each has a secret in it, and something else that is wrong with it. */
export function badRequests({ team, app, closed, down, unknown }: Hosts, carried: Carried): readonly BadRequest[] {
  const { cookie, teamCookie, accessToken, adminToken, password, provider } = carried
  const { id, secret } = carried.serviceToken
  const session = (value: string) => ({ cookie: `__Host-postern-session=${value}` })
  const service = (value: string) => ({ 'postern-client-id': id, 'postern-client-secret': value })
  const bearer = (value: string) => ({ authorization: `Bearer ${value}` })
  const get = (url: string, headers: Record<string, string>) => ({ method: 'GET', url, headers })
  const post = (url: string, headers: Record<string, string>, body: string) => ({ method: 'POST', url, headers, body })
  return [
    get(`${app}/`, session(`${cookie}; __Host-postern-session=${cookie}`)),
    get(`${app}/`, session(`${cookie}x`)),
    get(`${closed}/`, session(cookie)),
    get(`${closed}/`, { 'postern-access-token': accessToken }),
    get(`${app}/`, { 'postern-access-token': `${accessToken.slice(0, -9)}AAAAAAAAA` }),
    get(`${app}/`, { 'postern-access-token': accessToken, ...session(`${cookie}x`) }),
    get(`${app}/`, service(`${secret}x`)),
    get(`${down}/`, { ...service(secret), accept: 'application/json' }),
    get(`${unknown}/`, session(cookie)),
    get(`${app}/%zz`, session(cookie)),
    post(`${team}/login`, { ...FORM, cookie: `__Host-postern-team=${teamCookie}` }, `password=${password}&email=x`),
    post(`${team}/login`, { origin: team, 'content-type': 'text/plain' }, password),
    post(`${team}/oauth/token`, FORM, `grant_type=refresh_token&client_id=postern&refresh_token=${accessToken}`),
    get(`${team}/login/callback/corp?${new URLSearchParams(provider)}`, {}),
    get(`${team}/api/v1/nothing`, bearer(adminToken)),
    get(`${team}/api/v1/status`, bearer(`${adminToken}x`)),
    post(`${team}/api/v1/tunnels`, { ...bearer(adminToken), ...JSON_BODY }, `{"name":"${adminToken} ${secret}"}`),
    post(`${team}/api/v1/service-tokens`, { ...bearer(adminToken), ...JSON_BODY }, `{"${secret}":1, nonsense`),
  ]
}
