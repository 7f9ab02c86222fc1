/** The realtime participant's page: picture or sound alone, one button to begin, volume, and what happens in words. */
import { useEffect, useRef } from 'preact/hooks'
import { t } from '../../i18n'
import { imageFor, textFor } from '../../player/state'
import { useStore } from '../../store'
import { Icon } from '../../ui/icons'
import { LanguageSelect } from '../../ui/language-select'
import type { Participant } from '../participant'
import { nameOfLanguage } from '../state'
import { FailedLink, statusText } from './status'
import { Range } from './bits'

/** What is written over the picture, or null while all is well. */
function useMessage(room: Participant): { title: string; text: string } | null {
  const { event, info, connection } = useStore(room.store)
  const { state, refusal } = useStore(room.listening.store)
  const status = event?.status ?? info?.event.status
  const own = event && status ? textFor(event, event.status) : undefined
  if (status === 'ended') return { title: t('page.ended_title'), text: own ?? t('page.ended_text') }
  if (status === 'paused') return { title: t('page.paused_title'), text: own ?? t('page.paused_text') }
  if (status !== 'started') return { title: t('page.holding_title'), text: own ?? t('participant.waits') }
  if (state === 'refused') return { title: t('participant.refused'), text: refusal?.detail || t('room.sound_refused') }
  if (state === 'reconnecting' || (state !== 'connected' && connection === 'reconnecting')) {
    return { title: t('participant.reconnecting'), text: t('room.sound_reconnecting') }
  }
  if (state === 'connecting') return { title: t('page.connecting'), text: '' }
  return null
}

export function ParticipantPage({ room }: { room: Participant }) {
  const { info, failure, event, blocked, paused, volume, muted, video } = useStore(room.store)
  const message = useMessage(room)
  const stage = useRef<HTMLDivElement>(null)
  const name = event?.name || info?.event.name || ''
  const picture = (info?.video ?? false) && video
  useEffect(() => {
    document.title = name ? `${name} · Boothcast` : 'Boothcast'
  }, [name])
  useEffect(() => {
    stage.current?.prepend(room.element)
  }, [info])
  useEffect(() => {
    room.element.setAttribute('aria-label', t('room.picture'))
    room.element.hidden = !picture
  }, [picture, info])
  if (!info) return <FailedLink failure={failure} />
  const status = event?.status ?? info.event.status
  const waits = status === 'started' && (blocked || paused)
  const image = event ? imageFor(event, event.status) : undefined
  return (
    <div class="participant">
      <main class="participant-main">
        <header class="participant-head">
          <div>
            <h1 dir="auto">{name}</h1>
            <p class="participant-language">
              <Icon name="language" />
              <span lang={info.language}>{info.language_name || nameOfLanguage(info.language)}</span>
            </p>
          </div>
          <span class={`pill${status === 'started' ? ' pill-live' : ''}`}>{statusText(status)}</span>
        </header>
        <div class={`participant-stage${picture ? '' : ' participant-sound'}`} ref={stage}>
          {message && image && picture && <img class="participant-image" src={image} alt="" />}
          {!picture && !message && !waits && (
            <p class="participant-hears">
              <Icon name="headphones" />
              {t('participant.hears', { language: info.language_name })}
            </p>
          )}
          <div class="participant-message" role="status">
            {message && (
              <>
                <p class="participant-title">{message.title}</p>
                {message.text && <p class="participant-text">{message.text}</p>}
              </>
            )}
          </div>
          {waits && !message && (
            <button type="button" class="button button-primary participant-play" onClick={() => room.play()}>
              <Icon name="play" />
              {t('participant.play')}
            </button>
          )}
          {waits && message && paused && (
            <button type="button" class="button button-primary participant-play" onClick={() => room.play()}>
              <Icon name="play" />
              {t('participant.play')}
            </button>
          )}
        </div>
        <div class="participant-controls" role="group" aria-label={t('player.controls')}>
          <button type="button" class="button" disabled={status !== 'started'} onClick={() => (waits ? room.play() : room.pause())}>
            <Icon name={waits ? 'play' : 'pause'} />
            {waits ? t('player.play') : t('player.pause')}
          </button>
          <button type="button" class="button" aria-pressed={muted} onClick={() => room.setMuted(!muted)}>
            <Icon name={muted ? 'muted' : 'volume'} />
            {muted ? t('player.unmute') : t('player.mute')}
          </button>
          <Range label={t('player.volume')} value={Math.round(volume * 100)} min={0} max={100} step={5} text={`${Math.round(volume * 100)} %`} onInput={(value) => room.setVolume(value / 100)} />
          {info.video && (
            <label class="check">
              <input type="checkbox" checked={video} onChange={(event) => room.setVideo(event.currentTarget.checked)} />
              {t('participant.video')}
            </label>
          )}
        </div>
        <p class="field-hint">{info.video ? t('participant.hint_video') : t('participant.hint_audio')}</p>
      </main>
      <footer class="footer">
        <span>Boothcast</span>
        <LanguageSelect />
      </footer>
    </div>
  )
}
