// The reader of TLS hellos, with hellos that are whole, in pieces and broken in every way that was thought of. It may neither
// throw nor read a good one otherwise than it was made.
import { readClientHello } from '../dist/front/client-hello.js'
import { fuzzHellos } from '../test/hello-fuzz.ts'

export const stated = { executions: 10_000_000, seed: 1 }

export default async function run({
  executions = 0,
  seed = 1,
}: Readonly<Record<string, number>>): Promise<Record<string, number>> {
  return fuzzHellos(readClientHello, executions, seed)
}
