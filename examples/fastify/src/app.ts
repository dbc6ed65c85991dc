// A Fastify application that knows who is there, by nothing but what the edge signed.
import type { VerifiedIdentity, Verifier } from '@postern/verify'
import Fastify, { type FastifyInstance } from 'fastify'

declare module 'fastify' {
  interface FastifyRequest {
    /** Who sent it. */
    who: VerifiedIdentity
  }
}

/** @param verifier of this application's hostname: `createVerifier({ teamDomain, audience })` */
export function buildApp(verifier: Verifier): FastifyInstance {
  const app = Fastify()
  app.decorateRequest('who', null as unknown as VerifiedIdentity)

  // Before any handler: whoever went round the edge has no token of its, and gets no further.
  app.addHook('onRequest', async (request, reply) => {
    try {
      request.who = await verifier.verify(request)
    } catch (error) {
      const isOut = (error as { code?: string }).code === 'EDGE_UNREACHABLE'
      return reply.code(isOut ? 503 : 401).send({ error: 'Come through the edge.' })
    }
  })

  app.get('/me', async ({ who }) => ({ kind: who.kind, email: who.email ?? null, groups: who.groups ?? [] }))

  app.post('/orders', async ({ who, body }, reply) => {
    if (!who.groups?.includes('buyers')) return reply.code(403).send({ error: 'Only buyers order.' })
    // (issuer, subject) is the key of an account. Never the email.
    return { orderedBy: [who.issuer, who.subject], order: body }
  })
  return app
}
