import { createServer, type Server } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type JoinedWorld, startJoined } from '../world/joined.ts'
import { Rounds } from '../world/rounds.ts'

const SECRET = 'db.localhost'
const OPEN = 'open.localhost'

let world: JoinedWorld
let service: Server
let rounds: Rounds
let port = 0
beforeAll(async () => {
  // Speaks first, as sshd does, and then says what it hears.
  service = createServer({ allowHalfOpen: true }, socket => {
    socket.on('error', () => {}).write('hello')
    socket.pipe(socket)
  })
  await new Promise<void>(resolve => service.listen(0, '127.0.0.1', resolve))
  const at = service.address()
  if (at === null || typeof at === 'string') throw new Error('no port')
  const to = `tcp://127.0.0.1:${at.port}`
  const apps = { [SECRET]: { service: to, mode: 'end-to-end' }, [OPEN]: { service: to, mode: 'hop' } } as const
  world = await startJoined({ apps })
})
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
  service.close()
})
beforeEach(async () => {
  rounds = new Rounds(() => world.port)
  port = await rounds.listen()
  return () => rounds[Symbol.asyncDispose]()
})

/** TCP, TLS, the question to the edge; then end-to-end TLS in the pipe; then both hellos, the stream's header and the service's first words. */
const BEFORE_THE_FIRST_WORD = { 'end-to-end': 5, hop: 4 } as const

// Where a program thinks for longer than the network waits, what it says at once may be counted as two: then it is counted again.
describe('round trips of the client’s network until a service is heard, by one that is started anew', () => {
  test.each([
    ['end-to-end', 'tls'],
    ['end-to-end', 'websocket'],
    ['hop', 'tls'],
    ['hop', 'websocket'],
  ] as const)('%s, by %s', { retry: 2 }, async (mode, transport) => {
    const hostname = mode === 'hop' ? OPEN : SECRET
    const access = world.tcp(hostname, ['--edge', `https://127.0.0.1:${port}`, '--transport', transport])
    const heard = async (words: string) => {
      await access.says(new RegExp(`^${words}`))
      return rounds.roundTrips
    }
    expect(await heard('hello'), rounds.log.join('\n')).toBe(BEFORE_THE_FIRST_WORD[mode])
    const before = rounds.roundTrips
    access.child.stdin?.write('echo')
    expect((await heard('helloecho')) - before).toBe(1)
    await access.stop('SIGKILL')
  })
})
