import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openStore, type Store } from '@postern/store'
import { createAdminToken, createInvitation, createSetupToken } from '@postern/tokens'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Turns } from '../src/admin/turns.ts'
import { Directory } from '../src/sign-in/directory.ts'
import { Passwords } from '../src/sign-in/passwords.ts'
import { invited, LINK_TIME, newUser, userChange, usersOf } from '../src/sign-in/users.ts'
import { call } from './world.ts'

const ISSUER = 'https://edge.example.com'
const PASSWORD = 'a long walk to the sea'
const note = { action: 'test', actor: 'test' }

let folder: string
let store: Store
let directory: Directory
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'postern-directory-'))
  store = await openStore({ path: join(folder, 'edge.db') }, call)
  directory = directoryWith(new Passwords(8))
})
afterEach(async () => {
  await store[Symbol.asyncDispose]()
  await rm(folder, { recursive: true })
})

/** Where it matters that a password is work, or what is kept of it: as in production. */
const inProduction = () => directoryWith(new Passwords())
const directoryWith = (passwords: Passwords) =>
  new Directory({ store, turns: new Turns(), issuer: () => ISSUER, forgetSetupFile: async () => {}, passwords })

const from = (remoteAddress: string) => ({ remoteAddress, signal: new AbortController().signal })
const HOME = from('192.0.2.1')

async function invite(email: string, now = Date.now()): Promise<{ id: string; token: string }> {
  const id = `id-of-${email}`
  const { value, token } = invited(newUser({ email, groups: ['ops'] }, store.snapshot, now), now)
  await store.apply([userChange(id, value)], note)
  return { id, token }
}
async function person(email: string): Promise<string> {
  const { id, token } = await invite(email)
  await directory.accept(token, { name: 'Ann', password: PASSWORD }, HOME)
  return id
}

describe('whoever is in the directory', () => {
  test('is let in by email and password, as the team’s own', async () => {
    const subject = await person('ann@example.com')
    const expected = { issuer: ISSUER, subject, name: 'Ann', email: 'ann@example.com', groups: ['ops'] }
    expect(await directory.verify({ email: 'ann@example.com', password: PASSWORD }, HOME)).toMatchObject(expected)
    expect(await directory.verify({ email: 'ann@example.com', password: `${PASSWORD}.` }, HOME)).toBeUndefined()
    expect(await directory.verify({ email: 'bob@example.com', password: PASSWORD }, HOME)).toBeUndefined()
  })

  test('row 14: is found by capitals in ASCII, and by no look-alike', async () => {
    const subject = await person('Ann.K@Example.com')
    expect(await directory.verify({ email: 'ANN.K@EXAMPLE.COM', password: PASSWORD }, HOME)).toMatchObject({
      subject,
      email: 'ann.k@example.com',
    })
    for (const email of [
      'ann.\u212A@example.com', // the Kelvin sign, which lower case makes a k
      '\u0430nn.k@example.com', // a Cyrillic а
      'ann.k@example.com.',
      'ann.k@good.example,ann.k@example.com',
      'ann.k@x@example.com',
      '"ann.k"@example.com',
      ' ann.k@example.com',
      'ann.k@example.com\u0000',
      'ann.k',
      '',
    ])
      expect(await directory.verify({ email, password: PASSWORD }, from('192.0.2.7')).catch(String)).not.toMatchObject({
        subject,
      })
    for (const email of ['ann@localhost', 'a@b@c.example', 'ann@example.com.', '\u0430nn@example.com'])
      expect(() => newUser({ email }, store.snapshot, 0)).toThrow(expect.objectContaining({ code: 'BAD_USAGE' }))
    expect(() => newUser({ email: 'ANN.k@example.com' }, store.snapshot, 0)).toThrow(
      expect.objectContaining({ code: 'ALREADY_EXISTS' }),
    )
  })

  test('types a password in whatever form a keyboard makes of it', async () => {
    const { token } = await invite('ann@example.com')
    await directory.accept(token, { password: 'stra\u00dfe caf\u00e9 \u{1F511}' }, HOME)
    const tried = (password: string) => directory.verify({ email: 'ann@example.com', password }, HOME)
    expect(await tried('stra\u00dfe cafe\u0301 \u{1F511}')).toBeDefined()
    expect(await tried('strasse caf\u00e9 \u{1F511}')).toBeUndefined()
    expect(await tried('stra\u00dfe cafe \u{1F511}')).toBeUndefined()
  })

  test('is nobody once disabled, or taken out', async () => {
    directory = inProduction()
    const id = await person('ann@example.com')
    const user = usersOf(store.snapshot).get(id)
    if (user === undefined) throw new Error('nobody')
    const tried = () => directory.verify({ email: 'ann@example.com', password: PASSWORD }, HOME)
    await store.apply([userChange(id, { ...user, disabledAt: Date.now() })], note)
    expect(await tried()).toBeUndefined()
    await store.apply([userChange(id, user)], note)
    expect(await tried()).toBeDefined()
    const late = tried()
    await store.apply([userChange(id, { ...user, disabledAt: Date.now() })], note)
    expect(await late).toBeUndefined()
    await store.apply([{ delete: 'record', namespace: 'directory', id }], note)
    expect(await tried()).toBeUndefined()
  })
})

describe('a password', () => {
  test.each([
    ['eleven letters', 'abcdefghijk', false],
    ['twelve', 'abcdefghijkl', true],
    ['twelve that are eleven when put together', 'abcdefghije\u0301', false],
    ['eleven signs of two units each', '\u{1F511}'.repeat(11), false],
    ['256', 'x'.repeat(256), true],
    ['257', 'x'.repeat(257), false],
    ['a great many', 'x'.repeat(100_000), false],
    ['half a character', `${'x'.repeat(20)}\uD800`, false],
    ['spaces', ' '.repeat(12), true],
  ])('of %s', async (_what, password, isTaken) => {
    const { token } = await invite('ann@example.com')
    const made = directory.accept(token, { password }, HOME)
    if (!isTaken) await expect(made).rejects.toMatchObject({ code: 'BAD_USAGE' })
    else await expect(made).resolves.toMatchObject({ email: 'ann@example.com' })
    expect((await directory.verify({ email: 'ann@example.com', password }, HOME)) !== undefined).toBe(isTaken)
  })

  test('more than the line takes are turned away, who gives up leaves the line, and the rest are answered', async () => {
    await person('ann@example.com')
    const leaving = new AbortController()
    const tries = Array.from({ length: 40 }, (_, n) => {
      const asking = from(`198.51.100.${n}`)
      const signal = n === 5 ? leaving.signal : asking.signal
      return directory.verify({ email: 'ann@example.com', password: PASSWORD }, { ...asking, signal })
    })
    leaving.abort(new Error('gone'))
    const ends = await Promise.allSettled(tries)
    const said = ends.map(end =>
      end.status === 'rejected' ? (end.reason.code ?? end.reason.message) : end.value?.email,
    )
    const counted = Object.fromEntries([...Map.groupBy(said, one => one)].map(([one, all]) => [one, all.length]))
    expect(counted).toEqual({ 'ann@example.com': 33, EDGE_UNAVAILABLE: 6, gone: 1 })
  }, 60_000)
})

describe('row 97: guesses of a password', () => {
  test('from one address are slowed, at once or one after another; the owner comes in from elsewhere', async () => {
    await person('ann@example.com')
    const guess = (password: string, asking = from('198.51.100.1')) =>
      directory.verify({ email: 'Ann@example.com', password }, asking).then(
        found => (found === undefined ? 'wrong' : 'right'),
        ({ code }) => code,
      )
    const first = await Promise.all(Array.from({ length: 20 }, (_, n) => guess(`wrong password ${n}`)))
    expect(first.filter(one => one === 'wrong')).toHaveLength(10)
    expect(first.filter(one => one === 'RATE_LIMITED')).toHaveLength(10)
    expect(await guess(PASSWORD)).toBe('RATE_LIMITED')
    expect(await guess(PASSWORD, HOME)).toBe('right')
    expect(await guess(PASSWORD, from('203.0.113.9'))).toBe('right')
  }, 60_000)

  test('from everywhere lock nobody out, and each address has one', async () => {
    await person('ann@example.com')
    const guess = (password: string, address: string) =>
      directory.verify({ email: 'ann@example.com', password }, from(address)).then(
        found => (found === undefined ? 'wrong' : 'right'),
        ({ code }) => code,
      )
    expect(await guess(PASSWORD, '192.0.2.1')).toBe('right')
    for (let n = 0; n < 10; n += 1) {
      const tens = Array.from({ length: 10 }, (_, m) => guess(`wrong password ${m}`, `198.51.100.${n}`))
      expect(await Promise.all(tens)).toEqual(Array(10).fill('wrong'))
    }
    expect(await guess('wrong password', '203.0.113.1')).toBe('wrong')
    expect(await guess(PASSWORD, '203.0.113.1')).toBe('RATE_LIMITED')
    expect(await guess(PASSWORD, '203.0.113.2')).toBe('right')
    expect(await guess('oh a mistake', '192.0.2.1')).toBe('wrong')
    expect(await guess(PASSWORD, '192.0.2.1')).toBe('right')
  }, 120_000)

  test('for whom nobody knows are slowed alike', async () => {
    const guess = (email: string) =>
      directory.verify({ email, password: 'wrong password' }, from('198.51.100.1')).then(
        () => 'wrong',
        ({ code }) => code,
      )
    await person('ann@example.com')
    for (const email of ['ann@example.com', 'nobody@example.com', 'no address']) {
      const tries = await Promise.all(Array.from({ length: 12 }, () => guess(email)))
      expect(tries.sort()).toEqual([...Array(2).fill('RATE_LIMITED'), ...Array(10).fill('wrong')])
    }
  }, 60_000)
})

describe('a one-time link', () => {
  test('is good once, for seven days, and says whose it is', async () => {
    const { id, token } = await invite('ann@example.com')
    expect(directory.invited(token)).toMatchObject({ email: 'ann@example.com' })
    const both = await Promise.allSettled([
      directory.accept(token, { name: 'Ann', password: PASSWORD }, HOME),
      directory.accept(token, { name: 'Eve', password: `${PASSWORD} of Eve` }, HOME),
    ])
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    expect(directory.invited(token)).toBeUndefined()
    expect(usersOf(store.snapshot).get(id)?.invitation).toBeUndefined()
    const old = await invite('bob@example.com', Date.now() - LINK_TIME)
    expect(directory.invited(old.token)).toBeUndefined()
    await expect(directory.accept(old.token, { password: PASSWORD }, HOME)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    const fresh = await invite('cid@example.com', Date.now() - LINK_TIME + 60_000)
    expect(directory.invited(fresh.token)).toMatchObject({ email: 'cid@example.com' })
  })

  test('is nobody’s with another secret, of another kind, or for whom is disabled', async () => {
    const { id, token } = await invite('ann@example.com')
    for (const odd of [
      '',
      'x',
      `${token}x`,
      token.slice(0, 31) + createInvitation().token.slice(31),
      createInvitation().token,
      createAdminToken().token,
    ]) {
      expect(directory.invited(odd)).toBeUndefined()
      await expect(directory.accept(odd, { password: PASSWORD }, HOME)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    }
    const user = usersOf(store.snapshot).get(id)
    if (user === undefined) throw new Error('nobody')
    await store.apply([userChange(id, { ...user, disabledAt: 1 })], note)
    expect(directory.invited(token)).toBeUndefined()
    await store.apply([userChange(id, user)], note)
    expect(directory.invited(token)).toBeDefined()
  })
})

describe('row 109: the first administrator', () => {
  const wanted = { email: 'root@example.com', name: 'Root', password: PASSWORD }
  async function setupToken(lives = 60_000): Promise<string> {
    const { id, token, hash } = createSetupToken()
    const value = { hash, expiresAt: Date.now() + lives }
    await store.apply([{ put: 'record', namespace: 'setup-token', id, value }], note)
    return token
  }

  test('is made of the setup token once, however many come with it', async () => {
    const token = await setupToken()
    expect(directory.canSetUp(token)).toBe(true)
    const all = await Promise.allSettled([
      directory.setup(token, wanted, HOME),
      directory.setup(token, { ...wanted, email: 'eve@example.com' }, HOME),
      directory.setup(token, wanted, HOME),
    ])
    expect(all.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected', 'rejected'])
    const codes = all.flatMap(one => (one.status === 'rejected' ? [one.reason.code] : []))
    expect(codes).toEqual(['AUTH_REJECTED', 'AUTH_REJECTED'])
    expect(directory.canSetUp(token)).toBe(false)
    const [subject] = [...usersOf(store.snapshot).keys()]
    expect(usersOf(store.snapshot).size).toBe(1)
    expect(store.snapshot.settings.get('administrators')).toEqual([{ identity: { issuer: ISSUER, subject } }])
    // A later one is too late as well: there is an administrator.
    const second = await setupToken()
    await expect(directory.setup(second, { ...wanted, email: 'eve@example.com' }, HOME)).rejects.toMatchObject({
      code: 'AUTH_REJECTED',
    })
  })

  test('is nobody without a good one', async () => {
    const good = await setupToken()
    const late = await setupToken(-1)
    const { token: other } = createSetupToken()
    const mixed = good.slice(0, 31) + other.slice(31)
    for (const token of ['', 'admin', createAdminToken().token, late, other, mixed, createInvitation().token]) {
      expect(directory.canSetUp(token)).toBe(false)
      await expect(directory.setup(token, wanted, HOME)).rejects.toMatchObject({ code: 'AUTH_REJECTED' })
    }
    for (const odd of [{ password: 'short' }, { email: 'nobody' }])
      await expect(directory.setup(good, { ...wanted, ...odd }, HOME)).rejects.toMatchObject({ code: 'BAD_USAGE' })
    expect(usersOf(store.snapshot).size).toBe(0)
    expect(await directory.setup(good, wanted, HOME)).toMatchObject({ email: 'root@example.com' })
  })
})

test('row 99: the database has no password and no link, and nothing a short guess finds', async () => {
  directory = inProduction()
  await person('ann@example.com')
  const { token } = await invite('bob@example.com')
  const { value } = invited(newUser({ email: 'cid@example.com' }, store.snapshot, 0), 0)
  expect(JSON.stringify(value)).not.toContain('pinvs_')
  const row = JSON.stringify([...usersOf(store.snapshot).values()])
  expect(row).toMatch(/scrypt\$16\$8\$1\$[\w-]{22}\$[\w-]{43}/)
  expect(row).toMatch(/sha256\$/)
  await store[Symbol.asyncDispose]()
  const files = await Promise.all(['', '-wal'].map(end => readFile(join(folder, `edge.db${end}`)).catch(() => '')))
  const all = files.map(file => file.toString('latin1')).join('')
  expect(all).toContain('ann@example.com')
  for (const secret of [PASSWORD, token, token.slice(-43)]) expect(all).not.toContain(secret)
  store = await openStore({ path: join(folder, 'edge.db') }, call)
})
