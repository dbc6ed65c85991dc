import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { createSshKey, publicKeyOf } from '@postern/pki/ssh/key'
import { run, scriptOf } from './program.ts'
import { fetchTrusting, type Site, startSite } from './site.ts'
import { ACCOUNT, startTrustingSshd, type TrustingSshd } from './ssh-ca.ts'

export const EMAIL = 'ann@example.com'
export const PASSWORD = 'correct horse battery staple'
export const SSH = 'ssh.localhost'
export const PLAIN = 'plain.localhost'
export const WEB = 'web.localhost'

export interface Token {
  readonly id: string
  readonly secret: string
}

/** What the audit log says. */
interface Row {
  readonly hostname?: string
  readonly code?: string
  readonly detail?: Readonly<Record<string, unknown>>
}

/** An edge whose applications are real servers that trust its authorities, and users who have nothing but a credential. */
export class SshCertificateWorld implements AsyncDisposable {
  readonly site: Site
  readonly root: string
  /** {@link SSH}: where `deploy` may log in. */
  readonly named: TrustingSshd
  /** {@link PLAIN}: where only the account’s own name may. */
  readonly plain: TrustingSshd
  ci: Token = { id: '', secret: '' }
  stranger: Token = { id: '', secret: '' }
  #count = 0

  private constructor(site: Site, root: string, named: TrustingSshd, plain: TrustingSshd) {
    this.site = site
    this.root = root
    this.named = named
    this.plain = plain
  }

  static async start(): Promise<SshCertificateWorld> {
    const root = mkdtempSync(join(tmpdir(), 'postern-ssh-certificates-'))
    const named = await startTrustingSshd(join(root, 'named'), ['deploy'])
    const plain = await startTrustingSshd(join(root, 'plain'))
    const site = await startSite({
      [SSH]: { protocols: ['ssh'], service: `ssh://127.0.0.1:${named.port}`, rules: [] },
      [PLAIN]: { protocols: ['ssh'], service: `ssh://127.0.0.1:${plain.port}`, rules: [] },
      [WEB]: { protocols: ['http'], service: 'http://127.0.0.1:9', rules: [] },
    })
    const world = new SshCertificateWorld(site, root, named, plain)
    world.ci = await world.token('ci')
    world.stranger = await world.token('stranger')
    await world.permit(SSH, { ssh: { principals: ['deploy'] } })
    await world.permit(PLAIN, { ssh: { principals: [ACCOUNT] } })
    await site.person(EMAIL, PASSWORD, ['staff'])
    named.trust((await world.ask(SSH, 'ssh-ca.pub')).body)
    plain.trust((await world.ask(PLAIN, 'ssh-ca.pub')).body)
    return world
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.site[Symbol.asyncDispose]()
    await this.named[Symbol.asyncDispose]()
    await this.plain[Symbol.asyncDispose]()
    rmSync(this.root, { recursive: true, force: true })
  }

  token(name: string, more: object = {}): Promise<Token> {
    return this.site.edge.administration.call('service-token.create', { body: { name, ...more } } as never) as never
  }

  /** What staff, and machines, may. */
  async permit(hostname: string, what: object | undefined, tokens: readonly string[] = ['ci']): Promise<void> {
    const permit = what && { permit: what }
    const machines = tokens.map(one => ({ serviceToken: one }))
    const rules = [
      { name: 'staff', action: 'allow', include: [{ group: 'staff' }], ...permit },
      { name: 'machines', action: 'service', include: machines, ...permit },
    ]
    await this.site.edge.administration.call('policy.put', { params: { hostname }, body: { rules } } as never)
  }

  /** One of the edge’s own paths, as a program asks it. */
  ask(hostname: string, path: string, asked: { method?: string; headers?: object; body?: string } = {}) {
    const { method = 'GET', headers = {}, body } = asked
    const all = { accept: '*/*', ...headers }
    return fetchTrusting(`${this.site.at(hostname)}/.postern/${path}`, { method, headers: all, ...(body && { body }) })
  }

  async certify(
    hostname: string,
    more: { headers?: object; body?: string; as?: Token | undefined; publicKey?: string } = {},
  ) {
    const { as = this.ci, headers, publicKey = publicKeyOf(await createSshKey('test')) } = more
    const { status, body, ...said } = await this.ask(hostname, 'ssh-certificate', {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...shown(as), ...headers },
      body: more.body ?? JSON.stringify({ publicKey }),
    })
    return { status, said: JSON.parse(body || '{}') as Record<string, string>, headers: said.headers }
  }

  async rows(action: string): Promise<readonly Row[]> {
    const asked = { query: { action, most: '200' } } as never
    return (await this.site.edge.administration.call('audit.list', asked)).rows as unknown as Row[]
  }

  /** A user of this machine with a folder of their own. @param own what they come by; without it, their sign-in */
  user(own: Token | undefined = this.ci, signsIn = false) {
    const home = join(this.root, `home-${this.#count++}`)
    const [bin, postern, config] = [join(home, 'bin'), join(home, 'postern'), join(home, '.ssh', 'config')]
    for (const folder of [join(home, '.ssh'), bin]) mkdirSync(folder, { recursive: true, mode: 0o700 })
    const script = `#!/bin/sh\nexec ${process.execPath} ${scriptOf('postern')} "$@"\n`
    writeFileSync(join(bin, 'postern'), script, { mode: 0o755 })
    const known = join(home, '.ssh', 'known_hosts')
    writeFileSync(known, `${SSH} ${this.named.hostPublicKey}\n${PLAIN} ${this.plain.hostPublicKey}\n`)
    const settings = `Host *\n  User ${ACCOUNT}\n  UserKnownHostsFile ${known}\n  BatchMode yes\n`
    writeFileSync(config, settings, { mode: 0o600 })
    const secret = join(home, 'secret')
    writeFileSync(secret, own.secret, { mode: 0o600 })
    const credential = signsIn ? [] : ['--id', own.id, '--secret-file', secret]
    const PATH = `${bin}${delimiter}${process.env.PATH}`
    const env: NodeJS.ProcessEnv = {
      ...process.env,
      HOME: home,
      POSTERN_HOME: postern,
      POSTERN_CA: this.site.caFile,
      PATH,
    }
    const place = (hostname: string) => ['--hostname', `${hostname}:${this.site.edge.port}`, ...credential]
    const key = (hostname: string) => join(postern, 'ssh', `${hostname}_${this.site.edge.port}`)
    return {
      home,
      env,
      config,
      secret,
      files: join(postern, 'ssh'),
      key,
      certificate: (hostname: string) => `${key(hostname)}-cert.pub`,
      postern: (...args: string[]) => run('postern', args, { env }),
      gen: (hostname: string, ...args: string[]) =>
        run('postern', ['access', 'ssh-gen', ...place(hostname), ...args], { env }),
      configure: (hostname: string) =>
        run('postern', ['access', 'ssh-config', ...place(hostname), '--short-lived-cert', '--write'], { env }),
      ssh: (...args: string[]) => run('ssh', ['-F', config, ...args], { env }),
    }
  }
}

/** A service token, as programs show it. */
export function shown({ id, secret }: Token): Readonly<Record<string, string>> {
  return { 'postern-client-id': id, 'postern-client-secret': secret }
}
