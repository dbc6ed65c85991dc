import { APPLICATION, type FakeClientHost, fakeClientHost, recordingLog } from '@postern/compliance'
import type { AuthRequest, Call, Credential } from '@postern/interface'
import plugin from '../src/client.ts'
import { TEAM, TeamServer } from './team-server.ts'

export const access: AuthRequest = { purpose: 'access', app: APPLICATION }
export const log = recordingLog()
export const call: Call = { signal: AbortSignal.timeout(60_000), log }

export interface World {
  readonly team: TeamServer
  readonly host: Mutable<FakeClientHost>
  /** What the person does with the page that opens; by default they say yes. */
  browse: (url: URL) => Promise<unknown>
  /** Pages that were opened. */
  readonly opened: URL[]
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

/** A machine with a person at it, and a team's authorization server. */
export function world({ answer = () => 'y' }: { answer?: (question: string) => string } = {}): World {
  const team = new TeamServer()
  const host: Mutable<FakeClientHost> = fakeClientHost(answer)
  const made: World = { team, host, opened: [], browse: async url => fetch(team.approve(url)) }
  host.fetch = team.fetch
  host.ui = {
    ...host.ui,
    open: async url => {
      made.opened.push(url)
      void made.browse(url).catch(() => {})
      return true
    },
  }
  return made
}

export const OPTIONS = { device: false, browser: true, trustTeam: undefined }

/** A provider as another command would have one. */
export async function provider(
  { host }: Pick<World, 'host'>,
  options: Partial<typeof OPTIONS> | { trustTeam: string } = {},
) {
  return plugin.create({ ...OPTIONS, ...options }, host)
}

export function tokenOf({ headers }: Credential): string {
  return typeof headers === 'object' ? String(headers['postern-access-token']) : ''
}

/** The same person somewhere where nobody can be asked. */
export function alone(host: FakeClientHost): FakeClientHost {
  return { ...host, ui: { ...host.ui, interactive: false } }
}

export { TEAM }
