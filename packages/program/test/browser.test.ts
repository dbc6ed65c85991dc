import { existsSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { mayHaveBrowser, openBrowser } from '../src/browser.ts'

describe('a browser', () => {
  it.each<[NodeJS.ProcessEnv, NodeJS.Platform, boolean]>([
    [{}, 'linux', false],
    [{ DISPLAY: ':0' }, 'linux', true],
    [{ WAYLAND_DISPLAY: 'wayland-0' }, 'linux', true],
    [{ WSL_DISTRO_NAME: 'Debian' }, 'linux', true],
    [{}, 'darwin', true],
    [{}, 'win32', true],
  ])('with %j on %s: %s', (env, platform, may) => {
    expect(mayHaveBrowser(env, platform)).toBe(may)
  })

  it('that cannot come is not waited for', async () => {
    expect(await openBrowser(new URL('https://example.com'), {})).toBe(false)
  })

  it.skipIf(process.platform !== 'linux' || !existsSync('/bin/false') || process.env.DISPLAY)(
    'that does not come, where one might have, is known; one that comes is taken for it',
    async () => {
      const before = process.env.BROWSER
      try {
        process.env.BROWSER = '/bin/false'
        expect(await openBrowser(new URL('https://example.com'), { BROWSER: 'x' })).toBe(false)
        process.env.BROWSER = '/bin/true'
        expect(await openBrowser(new URL('https://example.com'), { BROWSER: 'x' })).toBe(true)
      } finally {
        if (before === undefined) delete process.env.BROWSER
        else process.env.BROWSER = before
      }
    },
  )
})
