import { DATA, GO_AWAY, PING, RST, SYN, WINDOW, yamux } from './attacker.ts'

/** Row 74: frames of a client's that no session may go on after. The name of each, and what is sent behind a hello. */
export const FRAMES_THAT_LIE: readonly (readonly [name: string, frames: readonly Buffer[]])[] = [
  ['version 1', [Buffer.from([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])]],
  ['type 9', [yamux(9, 0, 0)]],
  ['an id of the edge’s', [yamux(WINDOW, SYN, 4)]],
  ['stream 0', [yamux(DATA, SYN, 0, 'x')]],
  ['an id used before', [yamux(WINDOW, SYN, 3), yamux(WINDOW, SYN, 3)]],
  ['a stream nobody opened', [yamux(DATA, 0, 99, 'x')]],
  ['4 GiB in one frame', [yamux(WINDOW, SYN, 3), yamux(DATA, 0, 3, '', 0xffffffff)]],
  ['more than the window', [yamux(WINDOW, SYN, 3), yamux(DATA, 0, 3, Buffer.alloc(2 ** 21))]],
  ['a window past 2³²', [yamux(WINDOW, SYN, 3, '', 0xffffffff), yamux(WINDOW, 0, 3, '', 0xffffffff)]],
  ['a ping of a stream', [yamux(PING, SYN, 3)]],
  ['go-away with an error', [yamux(GO_AWAY, 0, 0, '', 1)]],
  ['the control stream reset', [yamux(WINDOW, RST, 1)]],
  ['HTTP', [Buffer.from('GET / HTTP/1.1\r\nHost: db.localhost\r\n\r\n')]],
]
