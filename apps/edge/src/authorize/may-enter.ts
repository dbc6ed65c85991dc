import { type Decision, explain, type Facts, type Policy, type Verdict } from '@postern/policy'

/** Any request: whatever can be decided of it hangs on path and method alone where nothing could be decided without. */
const SOME_REQUEST = { method: 'GET', path: '/' }

/**
 * What the policy says of a person whose requests are yet to come, and whose certificate nobody looked for. What hangs on those alone
 * is left to each request, which is decided again: it neither refuses the person nor, if it denies, forbids them. All else is as
 * it is for a request.
 */
export function mayEnter(asked: Facts, policy: Policy): Decision {
  const facts: Facts = { ...asked, certificateUnseen: true }
  const { decision, verdicts } = explain(facts, policy)
  if (decision.allow || facts.request !== undefined) return decision
  const decided = explain({ ...facts, request: SOME_REQUEST }, policy).verdicts.map(
    ({ applies }) => applies !== 'unknown',
  )
  const isOpen = ({ applies }: Verdict, at: number) => applies === 'unknown' && decided[at] === true
  const isDenied = verdicts.some((one, at) => one.action === 'deny' && one.applies !== 'no' && !isOpen(one, at))
  const isAllowed = verdicts.some((one, at) => one.action === 'allow' && (one.applies === 'yes' || isOpen(one, at)))
  return { ...decision, allow: isAllowed && !isDenied }
}
