import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { connect } from 'node:net'
import type { BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startBrowser, type TestBrowser } from '../world/browser.ts'
import { Running, start } from '../world/program.ts'

const peers = (process.env.POSTERN_PEERS ?? '').split(' ')
const NEEDED = ['chromium', 'curl', 'ssh']

describe.skipIf(!NEEDED.every(name => peers.includes(name)))(
  'somebody new types `npm start` and does what it says (needs: apt-get install chromium curl openssh-client)',
  { timeout: 120_000 },
  () => {
    let dev: Running
    let browser: TestBrowser
    let ann: BrowserContext
    let page: Page

    beforeAll(async () => {
      browser = await startBrowser()
      ann = await browser.person()
      dev = start('postern-dev', [])
      await dev.says(/Ctrl-C stops everything/, 60)
    })
    afterAll(async () => {
      await browser?.[Symbol.asyncDispose]()
      await dev?.stop('SIGKILL')
    })

    /** What it printed, from the beginning of a line on. */
    function printed(line: RegExp): string {
      const [, found] = line.exec(dev.stdout) ?? []
      if (found === undefined) throw new Error(`it did not print ${line}:\n${dev.stdout}`)
      return found
    }

    const urlOf = (name: string) => printed(new RegExp(`^ {2}(https://${name}\\.localhost:\\d+/) `, 'm'))
    const command = (words: string) => printed(new RegExp(`^ {2}(.*${words}.*)$`, 'm'))

    /** A line as it stands, and a little more. Where there is a screen there is somebody to ask; nothing is opened on it. */
    function type(line: string, more = ''): Running {
      const env = { ...process.env, DISPLAY: ':99', POSTERN_BROWSER: undefined }
      const child = spawn('sh', ['-c', `${line} ${more}`], { stdio: ['ignore', 'pipe', 'pipe'], env })
      return new Running(child, line)
    }

    async function done(line: string, more = ''): Promise<string> {
      const running = type(line, more)
      expect(await running.exit, running.stderr).toBe(0)
      return running.stdout
    }

    it('opens the application, signs in as the person it named, and reads who they are', async () => {
      page = await ann.newPage()
      await page.goto(urlOf('app'))
      await page.getByLabel('Email').fill(printed(/sign in as (\S+), password \S+$/m))
      await page.getByLabel('Password').fill(printed(/, password (\S+)$/m))
      await page.getByRole('button', { name: 'Sign in' }).click()
      await page.getByRole('heading', { name: 'Hello ann@example.com' }).waitFor()
      await page.getByText('staff').waitFor()
      await page.getByText(/^Connected, \d/).waitFor()
    })

    it('opens the second one without signing in, and is told of the third why not and whom to ask', async () => {
      const other = await ann.newPage()
      await other.goto(urlOf('wiki'))
      await other.getByRole('heading', { name: 'Hello ann@example.com' }).waitFor()
      expect(await other.title()).toBe('Sample wiki')
      const answer = await other.goto(urlOf('vault'))
      expect(answer?.status()).toBe(403)
      await other.getByText('keepers@example.com').waitFor()
      await other.close()
    })

    it('sees their own session on the administrators’ page', async () => {
      const admin = await ann.newPage()
      await admin.goto(printed(/^ {2}(https:\/\/edge\.localhost:\d+\/admin) /m))
      await admin.getByRole('link', { name: /sessions/i }).click()
      await admin.getByRole('heading', { name: /sessions/i }).waitFor()
      await admin.getByText('ann@example.com').first().waitFor()
      await admin.close()
    })

    it('signs in at the terminal with the same browser, and gets the page and a shell', async () => {
      const login = type(command('access login'), '--no-browser')
      const [url] = await login.says(/https:\/\/edge\.localhost:\d+\/oauth\/\S+/)
      const tab = await ann.newPage()
      await tab.goto(url)
      await tab.getByRole('button', { name: 'Yes, sign in' }).click()
      await tab.getByText(/close this/i).waitFor()
      await tab.close()
      expect(await login.exit, login.stderr).toBe(0)
      expect(login.stdout).toContain('ann@example.com')
      expect(await done(command('access curl'), '--silent')).toBe('app.localhost: hello ann@example.com\n')
      expect(await done(command('ssh -F \\S+ app'), 'echo from the server')).toBe('from the server\n')
    })

    it('is let in by a service token where no person is', async () => {
      expect(await done(command('ssh -F \\S+ ssh'), 'echo from the server')).toBe('from the server\n')
      expect(await done(command('printf'))).toMatch(/^hello\n\n\(that were 6 bytes/)
      const stranger = type(command('--secret wrong'))
      expect(await stranger.exit).toBe(11)
      expect(stranger.stderr).toContain('AUTH_REJECTED')
      expect(await done(command('admin audit'))).toContain('access.decide')
    })

    it('ends the person’s sessions, and sees the page and the shell stop', async () => {
      const shell = type(command('ssh -F \\S+ app'), "'echo there; sleep 60'")
      await shell.says(/there/)
      expect(await done(command('session revoke'))).toContain('sessions ended')
      await page.getByText('The edge has ended this.').waitFor()
      expect(await shell.exit).toBe(255)
      await page.reload()
      await page.getByLabel('Password').waitFor()
      expect(await done(command('access curl'), '--silent')).toContain('"code":"LOGIN_REQUIRED"')
    })

    it('presses Ctrl-C, and nothing is left: no folder, no port, no word on stderr but of who was cut off', async () => {
      const folder = printed(/removes (\S+)\.$/m)
      const port = Number(new URL(urlOf('app')).port)
      expect([existsSync(folder), await listens(port)]).toEqual([true, true])
      expect(await dev.stop('SIGINT')).toBe(0)
      expect(dev.stdout).toMatch(/Nothing is left behind\.\n$/)
      expect([existsSync(folder), await listens(port)]).toEqual([false, false])
      const words = dev.stderr.split('\n').filter(line => line !== '' && !line.includes('ACCESS_ENDED'))
      expect(words).toEqual([])
    })
  },
)

function listens(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
