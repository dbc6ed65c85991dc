import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'

const PROGRAM = fileURLToPath(new URL('./tls-cuts.ts', import.meta.url))

/** @throws what ended the process */
async function cuts(moment: string) {
  const { stdout } = await promisify(execFile)(process.execPath, [PROGRAM, moment], { timeout: 30_000 })
  return JSON.parse(stdout) as { readonly left: number; readonly seen: Readonly<Record<string, number>> }
}

describe('TLS on a socket, cut forty times', () => {
  test.each(['handshake', 'idle', 'twice', 'writing', 'reading', 'ending', 'below it was cut'])(
    '%s: is a reset, and the process lives',
    async moment => {
      const { left, seen } = await cuts(moment)
      expect([left, Object.keys(seen)]).toEqual([0, ['ECONNRESET']])
    },
  )

  test('behind its own end: it goes, whatever the other end still sees', async () => {
    expect(await cuts('ended')).toMatchObject({ left: 0 })
  })
})
