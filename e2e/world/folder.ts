import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A folder of this test's own, gone with it. */
export interface TemporaryFolder extends Disposable {
  readonly path: string
  /** A folder in it, there from now on. */
  in(name: string): string
}

export function temporaryFolder(): TemporaryFolder {
  const path = mkdtempSync(join(tmpdir(), 'postern-e2e-'))
  return {
    path,
    in(name) {
      mkdirSync(join(path, name), { recursive: true, mode: 0o700 })
      return join(path, name)
    },
    [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }),
  }
}
