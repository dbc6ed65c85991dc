import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { About } from '@postern/tunnel'

/** What this process says of itself to an edge: an id of its own while it runs, and its version. */
export async function ownAbout(): Promise<About> {
  const text = await readFile(new URL('../package.json', import.meta.url), 'utf8')
  const { version }: { version: string } = JSON.parse(text)
  return { connector: randomUUID(), version }
}
