import { z } from 'zod'
import { access, applied, wantedApplication, wantedChange } from './access.ts'
import { CERTIFICATE_ROUTES } from './certificate-routes.ts'
import { CONNECTOR_ROUTES } from './connector-routes.ts'
import { pem } from './connectors.ts'
import * as people from './people.ts'
import type { Route } from './route.ts'
import { groupName, members, rule, rules } from './rules.ts'
import * as things from './things.ts'
import { hostname, instant, lifetime, name, overlap, providerId, role, tokenRef, tunnelName } from './words.ts'

/** Most rows one answer carries. */
export const MOST_ROWS = 1000

const oneTunnel = z.strictObject({ name: tunnelName })
const oneApplication = z.strictObject({ hostname })
const oneToken = z.strictObject({ token: tokenRef })
const oneId = z.strictObject({ id: z.string().min(1).max(64) })
const named = z.strictObject({ name, expiresInSeconds: lifetime.optional() })
/** With a rule of its own in each of these applications, in the same step. */
const wantedServiceToken = named.extend({ applications: z.array(hostname).max(500).optional() })
/** Refused with CONFLICT unless the edge is still at this version. */
const ifVersion = z.int().optional()
const oneGroup = z.strictObject({ name: groupName })
/** By id or email. */
const oneUser = z.strictObject({ user: z.string().min(1).max(254) })
const oneProvider = z.strictObject({ id: providerId })
const rotation = z.strictObject({ overlapSeconds: overlap.default(0) })
/** Queries are text; whole numbers only, without sign, exponent or point. */
const count = (most: number) =>
  z
    .string()
    .regex(/^[1-9][0-9]{0,15}$/)
    .transform(Number)
    .pipe(z.int().max(most))

/**
 * Every route of the API, by name. The edge serves exactly these, the document describes exactly these, the client calls
 * exactly these, and the test of the roles calls each of them as everybody.
 */
export const ROUTES = {
  'status.get': { method: 'GET', path: '/status', role: 'viewer', summary: 'What runs here', answer: things.status },
  'whoami.get': { method: 'GET', path: '/whoami', role: 'viewer', summary: 'Who asks', answer: things.whoami },
  'openapi.get': {
    method: 'GET',
    path: '/openapi.json',
    role: 'viewer',
    summary: 'This document',
    answer: z.looseObject({}),
  },
  'settings.get': {
    method: 'GET',
    path: '/settings',
    role: 'viewer',
    summary: 'How the edge is set',
    answer: things.settings,
  },
  'settings.put': {
    method: 'PUT',
    path: '/settings',
    role: 'admin',
    summary: 'Sets it otherwise',
    body: things.wantedSettings,
    answer: things.settings,
  },

  'setup.use': {
    method: 'POST',
    path: '/setup',
    role: 'setup',
    summary: 'The first admin token, for the setup token of a new edge, once',
    body: named,
    answer: things.shownAdminToken,
  },
  'admin-token.list': {
    method: 'GET',
    path: '/admin-tokens',
    role: 'admin',
    summary: 'Who administers',
    answer: z.array(things.adminToken),
  },
  'admin-token.create': {
    method: 'POST',
    path: '/admin-tokens',
    role: 'admin',
    summary: 'A further admin token; its secret is shown once',
    body: named.extend({ role }),
    answer: things.shownAdminToken,
  },
  'admin-token.revoke': {
    method: 'DELETE',
    path: '/admin-tokens/{id}',
    role: 'admin',
    summary: 'Revokes an admin token, its own too',
    params: oneId,
  },

  'tunnel.list': {
    method: 'GET',
    path: '/tunnels',
    role: 'viewer',
    summary: 'All tunnels',
    answer: z.array(things.tunnel),
  },
  'tunnel.create': {
    method: 'POST',
    path: '/tunnels',
    role: 'admin',
    summary: 'A tunnel, without a token yet',
    body: oneTunnel.extend({
      /** PEM of the certificate of its identity, whose key stays where it was made. */
      identity: pem.optional(),
    }),
    answer: things.tunnel,
  },
  'tunnel.get': {
    method: 'GET',
    path: '/tunnels/{name}',
    role: 'viewer',
    summary: 'A tunnel, its daemons and its tokens',
    params: oneTunnel,
    answer: things.tunnel,
  },
  'tunnel.delete': {
    method: 'DELETE',
    path: '/tunnels/{name}',
    role: 'admin',
    summary: 'Removes a tunnel that no application uses; its daemons are cut off',
    params: oneTunnel,
  },
  'tunnel-token.create': {
    method: 'POST',
    path: '/tunnels/{name}/tokens',
    role: 'admin',
    summary: 'A further token for a tunnel’s daemons; shown once',
    params: oneTunnel,
    body: z.strictObject({ expiresInSeconds: lifetime.optional() }),
    answer: things.shownTunnelToken,
  },
  'tunnel-token.rotate': {
    method: 'POST',
    path: '/tunnels/{name}/rotate',
    role: 'admin',
    summary: 'A new token instead of all others; daemons that came with those are cut off after the overlap',
    params: oneTunnel,
    body: rotation,
    answer: things.shownTunnelToken,
  },
  'tunnel-token.revoke': {
    method: 'DELETE',
    path: '/tunnels/{name}/tokens/{id}',
    role: 'admin',
    summary: 'Revokes one token of a tunnel; daemons that came with it are cut off',
    params: oneTunnel.extend({ id: z.string().min(1).max(64) }),
  },
  'connector.evict': {
    method: 'DELETE',
    path: '/tunnels/{name}/connectors/{id}',
    role: 'admin',
    summary:
      'Cuts a daemon off. Its certificate is good no longer; whoever has none and holds the token can come back under another id: rotate the token to keep it out',
    params: oneTunnel.extend({ id: z.string().min(1).max(64) }),
  },
  ...CONNECTOR_ROUTES,

  'application.list': {
    method: 'GET',
    path: '/applications',
    role: 'viewer',
    summary: 'All applications',
    answer: z.array(things.application),
  },
  'application.create': {
    method: 'POST',
    path: '/applications',
    role: 'admin',
    summary: 'An application',
    body: wantedApplication,
    answer: things.application,
  },
  'application.get': {
    method: 'GET',
    path: '/applications/{hostname}',
    role: 'viewer',
    summary: 'An application with its rules',
    params: oneApplication,
    answer: things.application,
  },
  'application.put': {
    method: 'PUT',
    path: '/applications/{hostname}',
    role: 'admin',
    summary: 'Replaces an application, or makes it; who is not let in any more is cut off',
    params: oneApplication,
    body: wantedApplication.omit({ hostname: true }).extend({ ifVersion }),
    answer: things.application,
  },
  'application.delete': {
    method: 'DELETE',
    path: '/applications/{hostname}',
    role: 'admin',
    summary: 'Removes an application; everybody is cut off',
    params: oneApplication,
  },
  'policy.put': {
    method: 'PUT',
    path: '/applications/{hostname}/rules',
    role: 'admin',
    summary: 'Replaces an application’s rules; who is not let in any more is cut off',
    params: oneApplication,
    body: z.strictObject({ rules, ifVersion }),
    answer: things.application,
  },
  'policy.add': {
    method: 'POST',
    path: '/applications/{hostname}/rules',
    role: 'admin',
    summary: 'Adds a rule, in front of another or at the end; who is not let in any more is cut off',
    params: oneApplication,
    body: z.strictObject({ rule, before: rule.shape.name.optional() }),
    answer: things.application,
  },
  'policy.remove': {
    method: 'DELETE',
    path: '/applications/{hostname}/rules',
    role: 'admin',
    summary: 'Takes a rule away; who is not let in any more is cut off',
    params: oneApplication,
    // Not in the path: its name may have what a path can be read in two ways with.
    query: z.strictObject({ name: rule.shape.name }),
    answer: things.application,
  },

  'service-token.list': {
    method: 'GET',
    path: '/service-tokens',
    role: 'viewer',
    summary: 'All service tokens, without their secrets',
    answer: z.array(things.serviceToken),
  },
  'service-token.create': {
    method: 'POST',
    path: '/service-tokens',
    role: 'admin',
    summary: 'A service token, let into the applications that are named; its secret is shown once',
    body: wantedServiceToken,
    answer: things.shownServiceToken,
  },
  'service-token.get': {
    method: 'GET',
    path: '/service-tokens/{token}',
    role: 'viewer',
    summary: 'A service token, by id or name',
    params: oneToken,
    answer: things.serviceToken,
  },
  'service-token.rotate': {
    method: 'POST',
    path: '/service-tokens/{token}/rotate',
    role: 'admin',
    summary: 'A new secret under the same id; connections that came with the old one are cut off after the overlap',
    params: oneToken,
    body: rotation,
    answer: things.shownServiceToken,
  },
  'service-token.revoke': {
    method: 'DELETE',
    path: '/service-tokens/{token}',
    role: 'admin',
    summary: 'Revokes a service token; its connections are cut off',
    params: oneToken,
  },

  'group.list': {
    method: 'GET',
    path: '/groups',
    role: 'viewer',
    summary: 'All groups: selectors that rules share',
    answer: z.array(things.group),
  },
  'group.get': {
    method: 'GET',
    path: '/groups/{name}',
    role: 'viewer',
    summary: 'A group, and what names it',
    params: oneGroup,
    answer: things.group,
  },
  'group.put': {
    method: 'PUT',
    path: '/groups/{name}',
    role: 'admin',
    summary: 'Replaces a group, or makes it; who is not let in any more is cut off',
    params: oneGroup,
    body: z.strictObject({ selectors: members }),
    answer: things.group,
  },
  'group.delete': {
    method: 'DELETE',
    path: '/groups/{name}',
    role: 'admin',
    summary: 'Removes a group that nothing names',
    params: oneGroup,
  },

  'user.list': {
    method: 'GET',
    path: '/users',
    role: 'viewer',
    summary: 'The people of the edge’s own directory',
    answer: z.array(people.user),
  },
  'user.get': {
    method: 'GET',
    path: '/users/{user}',
    role: 'viewer',
    summary: 'One of them, by id or email',
    params: oneUser,
    answer: people.user,
  },
  'user.invite': {
    method: 'POST',
    path: '/users',
    role: 'admin',
    summary: 'A further person; the one-time link, with which they set their password, is shown once',
    body: people.wantedInvitation,
    answer: people.invitedUser,
  },
  'user.put': {
    method: 'PUT',
    path: '/users/{user}',
    role: 'admin',
    summary: 'Changes a person; with other groups, or disabled, their sessions end',
    params: oneUser,
    body: people.wantedUser,
    answer: people.user,
  },
  'user.reset': {
    method: 'POST',
    path: '/users/{user}/reset',
    role: 'admin',
    summary: 'Ends a person’s password and sessions; a new one-time link is shown once',
    params: oneUser,
    body: z.strictObject({}),
    answer: people.invitedUser,
  },
  'user.delete': {
    method: 'DELETE',
    path: '/users/{user}',
    role: 'admin',
    summary: 'Removes a person; their sessions end',
    params: oneUser,
  },

  'session.list': {
    method: 'GET',
    path: '/sessions',
    role: 'viewer',
    summary: 'Who is signed in',
    query: z.strictObject({
      /** The email, or the subject. */
      user: z.string().min(1).max(512).optional(),
      application: hostname.optional(),
    }),
    answer: z.array(people.session),
  },
  'session.revoke': {
    method: 'POST',
    path: '/sessions/revoke',
    role: 'admin',
    summary:
      'Ends sessions, and cuts off what they opened: one, a person’s, or those that were let into an application',
    body: people.wantedSessions,
    answer: z.object({ revoked: z.int() }),
  },

  'provider.list': {
    method: 'GET',
    path: '/providers',
    role: 'viewer',
    summary: 'The identity providers that people may sign in with',
    answer: z.array(people.provider),
  },
  'provider.put': {
    method: 'PUT',
    path: '/providers/{id}',
    role: 'admin',
    summary: 'Replaces an identity provider, or makes it; its client secret is never shown',
    params: oneProvider,
    body: people.wantedProvider,
    answer: people.provider,
  },
  'provider.delete': {
    method: 'DELETE',
    path: '/providers/{id}',
    role: 'admin',
    summary: 'Removes an identity provider; the sessions of whom it vouched for end',
    params: oneProvider,
  },

  'key.list': {
    method: 'GET',
    path: '/keys',
    role: 'viewer',
    summary: 'The keys that the team signs with, without their secrets',
    answer: z.array(people.signingKey),
  },
  'key.rotate': {
    method: 'POST',
    path: '/keys/rotate',
    role: 'admin',
    summary: 'The next key signs from now on; the one before it verifies for seven days more',
    body: z.strictObject({}),
    answer: z.array(people.signingKey),
  },
  'grant-key.list': {
    method: 'GET',
    path: '/grant-keys',
    role: 'viewer',
    summary: 'The keys that grants of end-to-end sessions are signed with, without their secrets',
    answer: z.array(people.signingKey),
  },
  'grant-key.rotate': {
    method: 'POST',
    path: '/grant-keys/rotate',
    role: 'admin',
    summary:
      'The next of these keys signs from now on; daemons enrolled before the last rotation do not know it, and have to log in again',
    body: z.strictObject({}),
    answer: z.array(people.signingKey),
  },
  'key.remove': {
    method: 'DELETE',
    path: '/keys/{id}',
    role: 'admin',
    summary: 'Takes a key out at once: nothing it signed is good any more',
    params: oneId,
  },

  ...CERTIFICATE_ROUTES,

  'audit.list': {
    method: 'GET',
    path: '/audit',
    role: 'viewer',
    summary: 'The audit log, newest first',
    query: z.strictObject({
      most: count(MOST_ROWS).optional(),
      /** Rows with a smaller sequence number only: `next` of the answer before. */
      before: count(Number.MAX_SAFE_INTEGER).optional(),
      since: instant.optional(),
      class: z.enum(['change', 'traffic']).optional(),
      action: z.string().max(64).optional(),
      actor: z.string().max(256).optional(),
      hostname: hostname.optional(),
      requestId: z.string().max(64).optional(),
    }),
    answer: z.object({ rows: z.array(things.auditRow), next: z.int().optional() }),
  },

  'access.get': {
    method: 'GET',
    path: '/access',
    role: 'viewer',
    summary: 'Everything as the document that `apply` takes',
    answer: access,
  },
  'access.apply': {
    method: 'POST',
    path: '/access',
    role: 'admin',
    summary: 'Makes what the document wants, all or nothing; or says what would change',
    body: wantedChange,
    answer: applied,
  },
} as const satisfies Readonly<Record<string, Route>>
