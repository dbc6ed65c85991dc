import type { Logger, ProtocolEvent } from '@postern/interface'
import { fitDetail, fitWord, type NoteMessage } from '@postern/tunnel'
import type { ObservedStream } from './observer.ts'

/** Events of one stream that are logged and told. */
const MOST_NOTES = 64

/** @returns takes what a protocol saw in one stream: logs it, and hands it on as it is fit to be kept */
export function notesOf(
  { hostname, requestId }: Pick<ObservedStream, 'hostname' | 'requestId'>,
  log: Logger,
  tell: (event: ProtocolEvent) => void,
): (event: ProtocolEvent) => void {
  let noted = 0
  return ({ action, allowed, detail }) => {
    noted += 1
    if (noted === MOST_NOTES + 1) log.warn('a protocol notes more of one stream than is kept', { hostname, requestId })
    if (noted > MOST_NOTES) return
    const fit = fitDetail(detail)
    const event = { action: fitWord(String(action)), allowed: allowed === true }
    log.info('protocol', { hostname, requestId, ...event, detail: fit === undefined ? fit : JSON.stringify(fit) })
    tell({ ...event, ...(fit !== undefined && { detail: fit }) })
  }
}

/** For the edge. @param sid the admission that it belongs to */
export function noteMessage(sid: string, { service }: ObservedStream, event: ProtocolEvent): NoteMessage {
  return { type: 'note', sid, service: kindOf(service), ...event }
}

/** `ssh`, and nothing of where it is. */
export function kindOf(service: string | undefined): string {
  return service?.split(':')[0] ?? 'none'
}
