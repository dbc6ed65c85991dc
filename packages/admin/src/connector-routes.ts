import { z } from 'zod'
import {
  connectorId,
  pem,
  shownConnector,
  shownConnectorSetup,
  signingRequest,
  wantedConnector,
  wantedSignature,
} from './connectors.ts'
import type { Route } from './route.ts'
import { tunnel } from './things.ts'
import { overlap, tunnelName } from './words.ts'

const oneTunnel = z.strictObject({ name: tunnelName })
const oneRequest = oneTunnel.extend({ id: z.string().min(1).max(64) })

/** What gives daemons certificates. */
export const CONNECTOR_ROUTES = {
  'tunnel-identity.put': {
    method: 'PUT',
    path: '/tunnels/{name}/identity',
    role: 'admin',
    summary:
      'Registers a tunnel’s identity. Instead of another one, which `replace` allows, it ends the tunnel’s tokens and certificates, and its daemons are cut off',
    params: oneTunnel,
    body: z.strictObject({ certificate: pem, replace: z.boolean().default(false) }),
    answer: tunnel,
  },
  'connector.enrol': {
    method: 'POST',
    path: '/tunnels/{name}/connectors',
    role: 'admin',
    summary:
      'A daemon’s certificate, signed by the tunnel’s identity, and a token for it, shown once. From the first one on, daemons of the tunnel need both',
    params: oneTunnel,
    body: wantedConnector,
    answer: shownConnector,
  },
  'connector.retire': {
    method: 'POST',
    path: '/tunnels/{name}/connectors/{id}/retire',
    role: 'admin',
    summary:
      'Ends a daemon’s certificate and token after a while, never later than it was said before: it has others by now',
    params: oneTunnel.extend({ id: connectorId }),
    body: z.strictObject({ overlapSeconds: overlap }),
  },
  'connector-setup.create': {
    method: 'POST',
    path: '/tunnels/{name}/setup-tokens',
    role: 'admin',
    summary:
      'A setup token for one daemon, with the authority that signs that one; redeemed once, within a day; shown once',
    params: oneTunnel,
    body: z.strictObject({ authority: pem, expiresInSeconds: z.int().min(60).max(86_400).default(86_400) }),
    answer: shownConnectorSetup,
  },
  'connector-setup.use': {
    method: 'POST',
    path: '/connectors',
    role: 'connector',
    summary: 'Enrols a daemon’s certificate for its setup token, once',
    body: wantedConnector,
    answer: shownConnector,
  },
  'signing-request.create': {
    method: 'POST',
    path: '/tunnels/{name}/signing-requests',
    role: 'admin',
    summary: 'Asks the machine that has the tunnel’s identity to sign a daemon’s key, within 15 minutes',
    params: oneTunnel,
    body: wantedSignature,
    answer: signingRequest,
  },
  'signing-request.list': {
    method: 'GET',
    path: '/tunnels/{name}/signing-requests',
    role: 'viewer',
    summary: 'The keys that wait',
    params: oneTunnel,
    answer: z.array(signingRequest),
  },
  'signing-request.get': {
    method: 'GET',
    path: '/tunnels/{name}/signing-requests/{id}',
    role: 'viewer',
    summary: 'One of them, with its certificate once it is signed',
    params: oneRequest,
    answer: signingRequest,
  },
  'signing-request.sign': {
    method: 'PUT',
    path: '/tunnels/{name}/signing-requests/{id}',
    role: 'admin',
    summary: 'Leaves the certificate, signed by the tunnel’s identity, for the daemon to fetch and enrol',
    params: oneRequest,
    body: z.strictObject({ certificate: pem }),
    answer: signingRequest,
  },
} as const satisfies Readonly<Record<string, Route>>
