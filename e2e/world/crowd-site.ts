// An edge and its daemon, in a process of their own that is started as `postern-edge` starts itself.
import { type Crowd, type Mode, startCrowd, type Who, work } from './crowd.ts'

export interface SiteAsked {
  readonly name: 'victim' | 'attacker'
  readonly mode: Mode
}

let crowd: Crowd | undefined

work<SiteAsked, Who>(
  async ({ name, mode }) => {
    crowd ??= await startCrowd()
    return crowd.visitor(name, mode)
  },
  async () => crowd?.[Symbol.asyncDispose](),
)
