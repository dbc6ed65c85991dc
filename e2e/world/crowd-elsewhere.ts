// Another edge and daemon on this machine, for an attacker to attack: nothing of theirs is shared but the machine.
import { type Crowd, type Mode, startCrowd, type Who, work } from './crowd.ts'

let crowd: Crowd | undefined

work<{ readonly mode: Mode }, Who>(
  async ({ mode }) => {
    crowd ??= await startCrowd()
    return crowd.visitor('attacker', mode)
  },
  async () => crowd?.[Symbol.asyncDispose](),
)
