import { protocolClientCompliance, protocolOriginCompliance } from '@postern/compliance'
import { describe, it } from 'vitest'
import client from '../src/client.ts'
import origin from '../src/origin.ts'
import smbClient from '../src/smb/client.ts'
import smbOrigin from '../src/smb/origin.ts'

const ways = ['listener'] as const

protocolClientCompliance({ describe, it, client, clientOptions: { open: false }, ways })
protocolOriginCompliance({ describe, it, origin, service: new URL('rdp://localhost') })
protocolClientCompliance({ describe, it, client: smbClient, ways })
protocolOriginCompliance({ describe, it, origin: smbOrigin, service: new URL('smb://localhost') })
