import { createServer, type IncomingMessage } from 'node:http'
import type { Json } from '@postern/interface'
import type { Rule } from '@postern/policy'
import type { ApplicationOptions } from '@postern/store'
import type { EdgeConfig } from '../src/index.ts'
import { Seal } from '../src/keys/seal.ts'
import { Browser, type Shown } from './sign-in-browser.ts'
import { call, startWorld, type World } from './world.ts'

export const PASSWORD = 'correct horse battery staple'

export interface SignInWorld extends AsyncDisposable {
  readonly world: World
  readonly team: string
  /** Requests that reached the service behind all applications: zero is what a deny must leave. */
  readonly reached: IncomingMessage[]
  origin(name: string): string
  browser(): Browser
  application(name: string, rules: readonly Rule[], options?: ApplicationOptions, protocols?: string[]): Promise<void>
  provider(id: string, value: Readonly<Record<string, Json>>): Promise<void>
  /** Somebody in the directory, with {@link PASSWORD}. */
  user(email: string, name?: string): Promise<void>
  setting(key: string, value: Json): Promise<void>
  /** From an application’s address to whatever stays, over the form for passwords. */
  withPassword(browser: Browser, address: string, email: string, password?: string): Promise<Shown>
}

/** Lets in who has one of these addresses. */
export function people(...emails: readonly string[]): readonly Rule[] {
  return [{ name: 'people', action: 'allow', include: emails.map(email => ({ email })) } as unknown as Rule]
}

/** An edge with HTTP applications, and one service behind them all. */
export async function startSignInWorld(config: Partial<EdgeConfig> = {}): Promise<SignInWorld> {
  const reached: IncomingMessage[] = []
  const service = createServer((request, response) => {
    reached.push(request)
    response.end(`the page of ${request.headers.host} at ${request.url}`)
  })
  const world = await startWorld(config, [], 0)
  await world.daemon(offered => service.emit('connection', offered.accept()))
  const { edge } = world
  const seal = await Seal.open(world.folder, true)
  const note = { action: 'test', actor: 'test' }
  const [tunnelId = ''] = edge.store.snapshot.tunnels.keys()
  const origin = (name: string) => `https://${name}.localhost:${edge.port}`
  return {
    world,
    team: `https://edge.localhost:${edge.port}`,
    reached,
    origin,
    browser: () => new Browser(edge.port, edge.caFile ?? ''),
    application: (name, rules, options = {}, protocols = ['http']) => {
      const value = { id: name, hostname: `${name}.localhost`, tunnelId, protocols, rules, options }
      return edge.store.apply([{ put: 'application', value }], note)
    },
    provider: (id, { clientSecret, ...value }) => {
      const sealed = clientSecret === undefined ? {} : { clientSecret: seal.seal(String(clientSecret)) }
      const row = { put: 'record', namespace: 'provider', id, value: { id, ...value, ...sealed } } as const
      return edge.store.apply([row], note)
    },
    setting: (key, value) => edge.store.apply([{ put: 'setting', key, value }], note),
    async user(email, name = 'Ada Lovelace') {
      const { token } = await invite(world, email)
      const asking = { remoteAddress: '127.0.0.1', signal: call.signal }
      await edge.directory.accept(token, { name, password: PASSWORD }, asking)
    },
    async withPassword(browser, address, email, password = PASSWORD) {
      const page = await browser.open(address)
      return browser.submit(page, { email, password })
    },
    async [Symbol.asyncDispose]() {
      service.closeAllConnections()
      await world[Symbol.asyncDispose]()
    },
  }
}

/** A one-time link for an address. */
export async function invite({ edge }: World, email: string): Promise<{ readonly token: string }> {
  const { invited, newUser, userChange } = await import('../src/sign-in/users.ts')
  const { value, token } = invited(newUser({ email }, edge.store.snapshot, Date.now()), Date.now())
  await edge.store.apply([userChange(`user-${email}`, value)], { action: 'test', actor: 'test' })
  return { token }
}
