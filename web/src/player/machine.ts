import type { Connection } from './source'
import type { Status } from './state'

/** What the player is doing. Pure: `core` carries it out. */
export type Phase =
  /** Nothing is known of the event yet. */
  | 'connecting'
  /** Before the start: page with countdown. */
  | 'holding'
  /** Plays, or tries to. */
  | 'live'
  /** Paused or ended by the manager: what is held is played out, then the page shows. */
  | 'draining'
  | 'paused'
  | 'ended'
  | 'gone'
  | 'denied'

export interface PhaseInput {
  status: Status | null
  connection: Connection
  /** The page carries a manager's preview token: preview and paused play too. */
  preview: boolean
  /** The player holds sound or picture that it was playing, and is not paused by the viewer. */
  holding: boolean
}

/** Whether media may be asked for: before `started` no viewer may, managers may from `preview` to `paused`. */
export function plays(status: Status, preview: boolean): boolean {
  return status === 'started' || (preview && (status === 'preview' || status === 'paused'))
}

/** The page shown for a status that does not play. */
function pageOf(status: Status): Phase {
  return status === 'paused' || status === 'ended' ? status : 'holding'
}

export function nextPhase(current: Phase, input: PhaseInput): Phase {
  const { status, connection, preview, holding } = input
  // Being told "no such event" or "not you" ends a broadcast like a pause does: what is held is played out.
  if (connection === 'gone' || connection === 'denied') {
    return (current === 'live' || current === 'draining') && holding ? 'draining' : connection
  }
  if (status === null) return current
  if (plays(status, preview)) return 'live'
  if ((current === 'live' || current === 'draining') && holding) return 'draining'
  return pageOf(status)
}
