import { readFileSync } from 'node:fs'
import type { Trust } from '@postern/client'
import type { AuthProvider, Transport } from '@postern/interface'
import webSocket from '@postern/transport-websocket/client'
import type { Who } from './crowd.ts'

export async function transport(): Promise<Transport> {
  return (await webSocket.create({} as never, {} as never)) as Transport
}

export function headersOf({ id, secret }: Who): Record<string, string> {
  return { 'postern-client-id': id, 'postern-client-secret': secret }
}

export function tokenOf(who: Who): AuthProvider {
  return { authenticate: async () => ({ headers: headersOf(who) }) }
}

export function trustOf({ caFile }: Who): Trust {
  return { ca: [readFileSync(caFile, 'utf8')] }
}
