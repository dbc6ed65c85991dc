// A program whose stdin and stdout are one end and a TCP port of this machine the other. Ends with 32 on EPIPE.
import { once } from 'node:events'
import { connect } from 'node:net'
import { joinHalves, pump } from '../dist/index.js'

const socket = connect({ port: Number(process.argv[2]), host: '127.0.0.1', allowHalfOpen: true })
await once(socket, 'connect')
const { error } = await pump(joinHalves(process.stdin, process.stdout), socket)
if (error) process.exitCode = (error as NodeJS.ErrnoException).code === 'EPIPE' ? 32 : 1
