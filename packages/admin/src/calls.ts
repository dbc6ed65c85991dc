import type { z } from 'zod'
import type { ROUTES } from './routes.ts'

export type Routes = typeof ROUTES
export type RouteName = keyof Routes

type In<R, K extends string> =
  R extends Readonly<Record<K, infer S extends z.ZodType>> ? { readonly [key in K]: z.input<S> } : unknown

/** What a call of a route takes: its `params`, `query` and `body`, where it has them. */
export type Input<N extends RouteName> = In<Routes[N], 'params'> & In<Routes[N], 'query'> & In<Routes[N], 'body'>
/** What it answers; undefined where it answers 204. */
export type Answer<N extends RouteName> = Routes[N] extends { readonly answer: infer S extends z.ZodType }
  ? z.output<S>
  : undefined
/** What its handler gets: checked, with defaults filled in. */
export type Checked<N extends RouteName> = {
  readonly [K in Extract<keyof Routes[N], 'params' | 'query' | 'body'>]: Routes[N][K] extends z.ZodType
    ? z.output<Routes[N][K]>
    : never
}
