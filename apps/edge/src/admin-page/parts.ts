import type { Administration } from '../admin/administration.ts'
import type { Origins } from '../origins.ts'
import type { Sessions } from '../sign-in/sessions.ts'
import type { SignIn } from '../sign-in/sign-in.ts'
import type { WayContext } from '../ways/context.ts'

/** What the pages for administrators work with. */
export interface AdminPageParts extends Pick<WayContext, 'store' | 'authorizer'> {
  readonly administration: Administration
  readonly signIn: Pick<SignIn, 'require' | 'current'>
  readonly sessions: Pick<Sessions, 'identityOf'>
  readonly origins: Origins
}
