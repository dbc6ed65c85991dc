import { dirname } from 'node:path'
import { readHostname } from '@postern/client/hostname'
import { type Json, PosternError } from '@postern/interface'
import { type ConfigSection, nearest } from '@postern/options'
import type { ConfigFile } from '@postern/program'
import type { Registry } from '@postern/registry'
import { aboutUnknown } from '../config.ts'
import { APPLICATION_FLAGS, withoutFile } from '../flags.ts'
import { areSame, type LocalAddress, readLocalAddress, showAddress } from '../local-address.ts'

/** One forward of a file. */
export interface Planned {
  /** With the edge’s port where it is not 443. */
  readonly hostname: string
  readonly local: LocalAddress
  readonly protocol: string
  /** What the file says for it, its own and what is said for all. */
  readonly section: ConfigSection
  /** The same text, the same forward. */
  readonly key: string
}

/** What a file asks for. */
export interface Plan {
  readonly path: string
  readonly forwards: readonly Planned[]
  /** Found on the way: of what is wrong, the forwards are not to be used. */
  readonly mistakes: readonly Mistake[]
}

export interface Mistake {
  /** `forwards.yaml:3:5: there is no key "hostnme" here` */
  readonly message: string
  readonly next?: string
}

type Members = Readonly<Record<string, Json>>
type At = readonly (string | number)[]

const OF_ALL = Object.keys(APPLICATION_FLAGS).filter(key => key !== 'pin')
const TOP = ['forwards', 'plugins', ...OF_ALL]
const OF_ONE = ['hostname', 'listen', 'protocol', ...Object.keys(APPLICATION_FLAGS)]
/** What people write who know the flags. */
const OTHER_WORDS: Readonly<Record<string, string>> = {
  url: 'listen',
  listener: 'listen',
  port: 'listen',
  app: 'hostname',
}

/** Reads a file of forwards, to its end whatever is wrong with it. The plugins it names must be known to the registry already. */
export function readPlan(file: ConfigFile, registry: Registry): Plan {
  return new Reader(file, registry).read()
}

/** The packages that a file names, as it names them. @throws PosternError CONFIG_INVALID */
export function pluginsOf(file: ConfigFile): readonly string[] {
  const value = isMembers(file.value) ? (file.value.plugins ?? []) : []
  return (Array.isArray(value) ? value : [value]).map((one, at) => {
    if (typeof one === 'string' && one !== '') return one
    const where = file.where(['plugins', at])
    throw new PosternError(
      'CONFIG_INVALID',
      `${where}: a plugin is the name of a package, or a path beginning with ./ or /`,
    )
  })
}

class Reader {
  readonly #file: ConfigFile
  readonly #registry: Registry
  readonly #mistakes: Mistake[] = []
  readonly #read: { readonly at: At; readonly planned: Planned }[] = []

  constructor(file: ConfigFile, registry: Registry) {
    this.#file = file
    this.#registry = registry
  }

  read(): Plan {
    const top = this.#members(this.#file.value, [])
    this.#refuseUnknown(top, [], [...TOP, ...this.#optionsOf(['auth', 'transport', 'protocol'])])
    const { forwards = null, plugins: _read, ...shared } = top
    if (!Array.isArray(forwards) || forwards.length === 0)
      this.#mistake(
        ['forwards'],
        'there is no forward',
        'Write `forwards:`, and below it a hostname and where to listen for each.',
      )
    else for (const [at, one] of forwards.entries()) this.#forward(['forwards', at], one, shared)
    return {
      path: this.#file.path,
      forwards: this.#read.map(one => one.planned),
      mistakes: this.#mistakes,
    }
  }

  #forward(at: At, value: Json, shared: Members): void {
    const own = this.#members(value, at)
    const hostname = this.#hostname(at, own)
    const local = this.#listen(at, own)
    const protocol = this.#protocol(at, own)
    const options = this.#optionsOf(['auth', 'transport', 'protocol'])
    this.#refuseUnknown(own, at, [...OF_ONE, ...options])
    if (hostname === undefined || local === undefined || protocol === undefined) return
    const { hostname: _h, listen: _l, protocol: _p, ...said } = own
    const values = { ...this.#inherited(own, shared, protocol), ...said }
    const place = (key: string) => [...(key in said ? at : []), key]
    const section: ConfigSection = {
      path: this.#file.path,
      values,
      label: key =>
        key in values ? `${this.#file.where(place(key))}: ${key}` : `${key} of the forward at ${this.#file.where(at)}`,
      otherKeys: Object.keys(values), // each is looked at here
    }
    const key = JSON.stringify([hostname, local, protocol, Object.entries(values).sort()])
    const planned = { hostname, local, protocol, section, key }
    this.#refuseTwice(at, planned)
    this.#read.push({ at, planned })
  }

  /** Who says anything of how to sign in for one forward says all of it: half of one credential is not sent with half of another. */
  #inherited(own: Members, shared: Members, protocol: string): Members {
    const ofAuth = ['auth', ...this.#optionsOf(['auth'])]
    const isAuth = (key: string) => ofAuth.includes(key) || ofAuth.includes(withoutFile(key))
    const ofOthers = (key: string) => {
      const owners = this.#registry.ownersOf(key).filter(({ side }) => side === 'client')
      return owners.length > 0 && owners.every(({ kind, name }) => kind === 'protocol' && name !== protocol)
    }
    const saysAuth = Object.keys(own).some(isAuth)
    return Object.fromEntries(Object.entries(shared).filter(([key]) => !(saysAuth && isAuth(key)) && !ofOthers(key)))
  }

  #hostname(at: At, own: Members): string | undefined {
    const { hostname } = own
    if (hostname === undefined) return this.#missing(at, own, 'hostname', 'this forward has no hostname')
    if (typeof hostname !== 'string') return this.#mistake([...at, 'hostname'], 'a hostname is a text')
    return this.#tried([...at, 'hostname'], () => {
      readHostname(hostname)
      return hostname
    })
  }

  #listen(at: At, own: Members): LocalAddress | undefined {
    const { listen } = own
    const next = 'Write listen: 5432, localhost:5432 or ./name.sock.'
    if (listen === undefined) return this.#missing(at, own, 'listen', 'this forward does not say where to listen', next)
    const text = typeof listen === 'string' || typeof listen === 'number' ? String(listen) : ''
    const folder = dirname(this.#file.path)
    return this.#tried([...at, 'listen'], () => readLocalAddress(text, 'listen', folder), next)
  }

  /** Told where no other key was meant to be it: that one is told of. */
  #missing(at: At, own: Members, key: string, why: string, next?: string): undefined {
    if (!Object.keys(own).some(one => OTHER_WORDS[one] === key || nearest(one, OF_ONE) === key))
      this.#mistake([...at, key], why, next)
  }

  #protocol(at: At, { protocol = 'tcp' }: Members): string | undefined {
    const names = this.#registry.names('protocol', 'client')
    if (typeof protocol === 'string' && names.includes(protocol)) return protocol
    const meant = typeof protocol === 'string' ? nearest(protocol, names) : undefined
    const others = `There are: ${names.join(', ')}.`
    const next =
      protocol === 'http'
        ? 'A web application has a command of its own: postern access http.'
        : meant
          ? `Did you mean ${meant}?`
          : `${others} More come with plugins.`
    this.#mistake([...at, 'protocol'], 'there is no such protocol here', next)
    return undefined
  }

  #refuseTwice(at: At, { hostname, local }: Planned): void {
    const other = this.#read.find(({ planned }) => areSame(planned.local, local))
    if (!other) return
    const where = this.#file.where([...other.at, 'listen']).slice(this.#file.path.length + 1)
    const why = `${hostname} cannot be at ${showAddress(local)} as well: ${other.planned.hostname} is (${where})`
    this.#mistake([...at, 'listen'], why, 'Give one of them another port.')
  }

  #refuseUnknown(members: Members, at: At, allowed: readonly string[]): void {
    for (const key of Object.keys(members)) {
      if (allowed.includes(key) || (key.endsWith('File') && allowed.includes(withoutFile(key)))) continue
      const { why, next } = aboutUnknown(key, allowed)
      const other = OTHER_WORDS[key]
      this.#mistake([...at, key], why, other && allowed.includes(other) ? `Did you mean ${other}?` : next)
    }
  }

  /** What plugins of these kinds declare: which of them are used is said later. */
  #optionsOf(kinds: readonly ('auth' | 'transport' | 'protocol')[]): readonly string[] {
    const registry = this.#registry
    return kinds.flatMap(kind =>
      registry.names(kind, 'client').flatMap(name => registry.find(kind, name)?.entry.options?.client ?? []),
    )
  }

  /** Nothing (`- ` and no more) is no members. */
  #members(value: Json, at: At): Members {
    if (value === null) return {}
    if (isMembers(value)) return value
    this.#mistake(at, at.length === 0 ? 'a file of forwards is `key: value` lines' : 'a forward is `key: value` lines')
    return {}
  }

  #tried<T>(at: At, read: () => T, otherwise?: string): T | undefined {
    try {
      return read()
    } catch (thrown) {
      const { message, next } = PosternError.from(thrown)
      return this.#mistake(at, message, otherwise ?? next)
    }
  }

  #mistake(at: At, why: string, next?: string): undefined {
    this.#mistakes.push({ message: `${this.#file.where(at)}: ${why}`, ...(next !== undefined && { next }) })
  }
}

function isMembers(value: Json): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
