/** Words for the states of connections and links. */
import { t, type Key } from '../../i18n'
import type { InfoFailure } from '../address'
import type { RoomSnapshot } from '../core'
import type { MicrophoneState } from '../devices'
import type { LinkState, Refusal } from '../rtc'
import type { Air } from '../state'
import { FullPage } from './bits'

const FAILURES = {
  expired: ['closed.expired_title', 'closed.expired_text'],
  revoked: ['closed.revoked_title', 'closed.refused_text'],
  unauthorised: ['closed.unknown_title', 'closed.unknown_text'],
  unknown: ['closed.unknown_title', 'closed.unknown_text'],
  unreachable: ['closed.unreachable_title', 'closed.unreachable_text'],
} as const satisfies Record<InfoFailure, readonly [Key, Key]>

/** A link that leads nowhere; null while it is looked up. */
export function FailedLink({ failure }: { failure: InfoFailure | null }) {
  const [title, text] = failure === null ? (['room.loading', 'room.loading'] as const) : FAILURES[failure]
  return <FullPage title={failure === null ? 'Boothcast' : t(title)} text={t(text)} />
}

/** A room that was closed for good, or null. `event` comes back by itself and is a notice. */
export function ClosedRoom({ closed, onReopen }: { closed: NonNullable<RoomSnapshot['closed']>; onReopen(): void }) {
  switch (closed.reason) {
    case 'revoked':
      return <FullPage title={t('closed.revoked_title')} text={t('closed.revoked_text')} />
    case 'expired':
      return <FailedLink failure="expired" />
    case 'replaced':
      return (
        <FullPage title={t('closed.replaced_title')} text={t('closed.replaced_text')}>
          <button type="button" class="button button-primary" onClick={onReopen}>
            {t('closed.replaced_action')}
          </button>
        </FullPage>
      )
    default:
      return <FailedLink failure="unknown" />
  }
}

/** What stands in place of the picture, or null when it shows. */
export function soundText(state: LinkState, refusal: Refusal | null): string | null {
  switch (state) {
    case 'connected':
      return null
    case 'refused':
      return refusal?.detail || t('room.sound_refused')
    case 'reconnecting':
      return t('room.sound_reconnecting')
    default:
      return t('room.sound_connecting')
  }
}

export function airText(air: Air): string {
  switch (air) {
    case 'on':
      return t('air.on')
    case 'cough':
      return t('air.cough')
    case 'muted':
      return t('air.muted')
    case 'waiting':
      return t('air.waiting')
    case 'unknown':
      return t('air.unknown')
    case 'off':
      return t('air.off')
  }
}

/** What is wrong with the microphone or its way to the daemon, in words; null when all is well. */
export function microphoneText(microphone: MicrophoneState, voice: LinkState, refusal: Refusal | null): string {
  switch (microphone) {
    case 'off':
      return t('mic.off')
    case 'opening':
      return t('mic.opening')
    case 'denied':
      return t('mic.denied')
    case 'missing':
      return t('mic.missing')
    case 'insecure':
      return t('mic.insecure')
    case 'open':
      if (voice === 'connected') return t('mic.connected')
      if (voice === 'refused') return refusal?.detail || t('mic.refused')
      return voice === 'reconnecting' ? t('mic.reconnecting') : t('mic.connecting')
  }
}

export function statusText(status: string): string {
  switch (status) {
    case 'started':
      return t('status.started')
    case 'preview':
      return t('room.status_preview')
    case 'paused':
      return t('status.paused')
    case 'ended':
      return t('status.ended')
    default:
      return t('status.inactive')
  }
}
