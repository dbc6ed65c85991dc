import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { leftOpen, resources } from '@postern/testkit'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { watchFile } from '../src/watch.ts'

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
    'gone with its folder, and there again with a new one',
    () => {
      renameSync(folder, `${folder}.old`)
      rmSync(`${folder}.old`, { recursive: true })
      mkdirSync(folder)
      writeFileSync(file, '2')
    },
  ],
])('a file that is %s is seen, once', async (_how, change) => {
  using _watcher = watchFile(file, changed)
  change()
  await expect.poll(() => seen, { timeout: 5000 }).toBe(1)
  await new Promise(resolve => setTimeout(resolve, 1500))
  expect(seen).toBe(1)
  writeFileSync(file, '3') // and so is the next change of it
  await expect.poll(() => seen, { timeout: 5000 }).toBe(2)
})

it('other files are not', async () => {
  using _watcher = watchFile(file, changed)
  writeFileSync(join(folder, 'b.yaml'), '2')
  await new Promise(resolve => setTimeout(resolve, 1500))
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
  using watcher = watchFile(file, slow)
  for (let poke = 0; poke < 5; poke++) watcher.poke()
  expect(seen).toBe(1)
  go.resolve()
  await expect.poll(() => seen).toBe(2)
  expect(most).toBe(1)
})

it.each<[string, () => void]>([
  ['is written', () => writeFileSync(join(folder, '..data', 'a.yaml'), '2')],
  [
    'is swapped with its folder, as Kubernetes does',
    () => {
      mkdirSync(join(folder, 'v2'))
      writeFileSync(join(folder, 'v2', 'a.yaml'), '1')
      symlinkSync('v2', join(folder, '..data_tmp'))
      renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
    },
  ],
])('what a symbolic link leads to %s, which is seen, once', async (_how, change) => {
  rmSync(file)
  mkdirSync(join(folder, 'v1'))
  writeFileSync(join(folder, 'v1', 'a.yaml'), '1')
  symlinkSync('v1', join(folder, '..data'))
  symlinkSync('..data/a.yaml', file)
  using _watcher = watchFile(file, changed)
  change()
  await expect.poll(() => seen, { timeout: 5000 }).toBe(1)
  await new Promise(resolve => setTimeout(resolve, 1500))
  expect(seen).toBe(1)
})

it('one that is being written is left alone until it rests', async () => {
  using _watcher = watchFile(file, changed)
  for (let part = 0; part < 20; part++) {
    writeFileSync(file, `${part}`, { flag: 'a' })
    await new Promise(resolve => setTimeout(resolve, 100))
  }
  expect(seen).toBe(0)
  await expect.poll(() => seen, { timeout: 5000 }).toBe(1)
})

it('one that is not there is looked for, and a poke works without it', async () => {
  rmSync(file)
  using watcher = watchFile(file, changed)
  watcher.poke()
  await expect.poll(() => seen).toBe(1)
  writeFileSync(file, '1')
  await expect.poll(() => seen, { timeout: 5000 }).toBe(2)
})
