// Forked by held.ts: opens connections of many addresses, stops each at a random step, and ends when
// the other side has closed the last.
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { createSecureContext, connect as secure } from 'node:tls'

const [port = 0, count = 0, perAddress = 1, child = 0, seed = 1] = process.argv.slice(2).map(Number)
const secureContext = createSecureContext()
let state = seed * 7919 + child
/** Lehmer’s generator. */
const random = () => {
  state = (state * 48_271) % 2_147_483_647
  return state / 2_147_483_647
}

let open = 0
for (let n = 0; n < count; n += 1) {
  const localAddress = `127.${10 + child}.${Math.floor(n / perAddress)}.1`
  const socket = connect({ port, host: '127.0.0.1', localAddress }).on('error', () => {})
  open += 1
  socket.once('close', () => {
    open -= 1
  })
  const step = random()
  if (step < 0.4) socket.resume()
  else if (step < 0.6) socket.resume().write(Buffer.from([0x16, 3, 1, 2, 0, 1, 0]))
  else {
    const tls = secure({ socket, servername: 'db.localhost', rejectUnauthorized: false, secureContext })
    tls.on('error', () => {}).resume()
    if (step > 0.8) tls.write('GET / HTTP/1.1\r\nHost: db.localhost\r\nX: ')
  }
  if (n % 50 === 49) await sleep(150)
}
// A connection the kernel dropped before the edge took it hears of no end.
const patience = Date.now() + 150_000
while (open > 0 && Date.now() < patience) await sleep(100)
process.exit()
