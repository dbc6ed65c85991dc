import { existsSync } from 'node:fs'
import { type Browser, type BrowserContext, chromium } from 'playwright-core'

/** Debian's. */
const CHROMIUM = '/usr/bin/chromium'
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

/** A real browser without a window; nothing of a person's. Names below `.localhost` are this machine for it as well. */
export interface TestBrowser extends AsyncDisposable {
  /** A browser of its own: no cookies of anybody else's. */
  person(): Promise<BrowserContext>
}

export async function startBrowser(): Promise<TestBrowser> {
  if (!existsSync(CHROMIUM)) throw new Error('no chromium: apt-get install chromium')
  const browser: Browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS })
  return {
    // The CA of a test edge is in nobody's trust store.
    person: () => browser.newContext({ ignoreHTTPSErrors: true }),
    [Symbol.asyncDispose]: () => browser.close(),
  }
}
