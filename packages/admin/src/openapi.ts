import type { Json } from '@postern/interface'
import { z } from 'zod'
import { BASE, type Route } from './route.ts'
import { ROUTES } from './routes.ts'

type Document = { [key: string]: Json }

/**
 * The API as an OpenAPI 3.1 document, from the table of routes and nothing else.
 *
 * @param version of the software that serves it
 */
export function openApi(version: string): Document {
  const paths: { [path: string]: Document } = {}
  const schemas: Document = { Problem: PROBLEM }
  for (const [name, route] of Object.entries<Route>(ROUTES)) {
    const path = `${BASE}${route.path}`
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operationOf(name, route, schemas) }
  }
  return {
    openapi: '3.1.0',
    info: { title: 'Postern administration', version },
    security: [{ bearer: [] }],
    paths,
    components: {
      schemas,
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer', description: 'an admin token; on the Unix socket none is needed' },
      },
    },
  }
}

function operationOf(name: string, route: Route, schemas: Document): Document {
  const answered = route.answer === undefined ? '204' : '200'
  return {
    operationId: name,
    summary: route.summary,
    'x-postern-role': route.role,
    parameters: [...parametersOf(route.params, 'path', schemas), ...parametersOf(route.query, 'query', schemas)],
    ...(route.body && {
      requestBody: { required: true, ...content('application/json', schemaOf(route.body, 'input', schemas)) },
    }),
    responses: {
      [answered]: {
        description: 'done',
        ...(route.answer && content('application/json', schemaOf(route.answer, 'output', schemas))),
      },
      default: {
        description: 'RFC 9457 problem details',
        ...content('application/problem+json', { $ref: '#/components/schemas/Problem' }),
      },
    },
  }
}

function parametersOf(schema: z.ZodObject | undefined, where: 'path' | 'query', schemas: Document): Document[] {
  return Object.entries(schema?.shape ?? {}).map(([name, one]) => ({
    name,
    in: where,
    required: where === 'path' || !(one as z.ZodType).isOptional(),
    schema: schemaOf(one as z.ZodType, 'input', schemas),
  }))
}

/** Named schemas move to the components: `Rule` as it is answered, `RuleInput` as it is sent. */
function schemaOf(schema: z.ZodType, io: 'input' | 'output', components: Document): Document {
  const { $schema, $defs = {}, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any' })
  const suffix = io === 'input' ? 'Input' : ''
  const moved = (value: unknown) =>
    JSON.parse(JSON.stringify(value).replace(/#\/\$defs\/(\w+)/g, `#/components/schemas/$1${suffix}`)) as Document
  for (const [id, definition] of Object.entries($defs)) components[`${id}${suffix}`] = moved(definition)
  return moved(rest)
}

function content(type: string, schema: Document): Document {
  return { content: { [type]: { schema } } }
}

const PROBLEM: Document = {
  type: 'object',
  required: ['code', 'status', 'title', 'next', 'requestId'],
  properties: {
    code: { type: 'string' },
    status: { type: 'integer' },
    title: { type: 'string' },
    next: { type: 'string', description: 'what to do about it' },
    requestId: { type: 'string' },
    detail: { type: 'string' },
    speaker: { type: 'string' },
  },
}
