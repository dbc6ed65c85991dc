import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { leftOpen, recordingLog, resources } from '@postern/testkit'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { watchFile } from '../src/watch.ts'

const log = recordingLog()
let before = resources()
let folder: string
let file: string
let seen: number
beforeEach(() => {
  before = resources()
  folder = mkdtempSync(join(tmpdir(), 'postern-watch-'))
  file = join(folder, 'a.yaml')
  writeFileSync(file, '1')
  seen = 0
})
afterEach(async () => {
  rmSync(folder, { recursive: true, force: true })
  expect(await leftOpen(before)).toEqual([])
})

const changed = async () => void seen++

it.each<[string, () => void]>([
  ['written in place', () => writeFileSync(file, '2')],
  [
    'replaced by another',
    () => {
      writeFileSync(`${file}~`, '2')
      renameSync(`${file}~`, file)
    },
  ],
  [
    'removed, and there again',
    () => {
      rmSync(file)
      writeFileSync(file, '2')
    },
  ],
  [
    'swapped as Kubernetes does',
    () => {
      mkdirSync(join(folder, 'v2'))
      symlinkSync('v2', join(folder, '..data_tmp'))
      renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
    },
  ],
])('a file that is %s is seen, once', async (_how, change) => {
  using _watcher = watchFile(file, changed, log)
  change()
  await expect.poll(() => seen, { timeout: 5000 }).toBe(1)
  await new Promise(resolve => setTimeout(resolve, 400))
  expect(seen).toBe(1)
})

it('other files are not', async () => {
  using _watcher = watchFile(file, changed, log)
  writeFileSync(join(folder, 'b.yaml'), '2')
  await new Promise(resolve => setTimeout(resolve, 600))
  expect(seen).toBe(0)
})

it('it is read by one at a time, and once more when it changed meanwhile', async () => {
  const go = Promise.withResolvers<void>()
  let inside = 0
  let most = 0
  const slow = async () => {
    seen++
    most = Math.max(most, ++inside)
    await go.promise
    inside--
  }
  using watcher = watchFile(file, slow, log)
  for (let poke = 0; poke < 5; poke++) watcher.poke()
  expect(seen).toBe(1)
  go.resolve()
  await expect.poll(() => seen).toBe(2)
  expect(most).toBe(1)
})

it('a folder that cannot be watched is told, and a poke still works', async () => {
  using watcher = watchFile('/nonexistent/a.yaml', changed, log)
  expect(log.text()).toContain('send SIGHUP after a change')
  watcher.poke()
  await expect.poll(() => seen).toBe(1)
})
