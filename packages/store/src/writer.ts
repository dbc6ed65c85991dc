// The writer thread: owns the only connection. No fsync ever waits on the thread that carries bytes.
import { parentPort, workerData } from 'node:worker_threads'
import { Database, databaseError } from './database.ts'
import type { Question, Reply, WriterStart } from './wire.ts'

const { path, most } = workerData as WriterStart
const port = parentPort
if (port === null) throw new Error('the writer runs as a worker thread')

let database: Database | undefined

port.on('message', (question: Question) => {
  port.postMessage(replyTo(question))
  if (question.ask === 'close') port.close()
})

function replyTo(question: Question): Reply {
  const { id } = question
  try {
    database ??= new Database(path, most)
    return { id, value: database.answer(question) }
  } catch (error) {
    const { code, message, next } = databaseError(error, path)
    return { id, failed: { code, message, next } }
  }
}
