import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'

/** What a daemon says of itself. It is shown to the edge’s administrators, and never trusted. */
export type DaemonAbout = {
  /** A UUID: that of the connector's certificate, or other for each process. */
  readonly connector: string
  readonly version: string
}

/** What this process says of itself to an edge: an id, its own while it runs unless its certificate has one, and its version. */
export async function ownAbout(connector: string = randomUUID()): Promise<DaemonAbout> {
  const text = await readFile(new URL('../package.json', import.meta.url), 'utf8')
  const { version }: { version: string } = JSON.parse(text)
  return { connector, version }
}
