/** The microphone: lamp, switch, cough key, level, outgoing language. What nobody may misread stands here. */
import { useRef } from 'preact/hooks'
import { t } from '../../i18n'
import { useStore } from '../../store'
import { Icon } from '../../ui/icons'
import type { BoothRoom } from '../booth'
import { KEY_OF } from '../shortcuts'
import { boothOf, nameOfLanguage, outgoingChoices } from '../state'
import { KeyHint, LevelMeter } from './bits'
import { airText, microphoneText } from './status'

/** Holds while a pointer or key presses it. */
function CoughButton({ room }: { room: BoothRoom }) {
  const coughing = useStore(room.store, (value) => value.coughing)
  const release = () => room.cough(false)
  return (
    <button
      type="button"
      class={`button cough${coughing ? ' cough-on' : ''}`}
      aria-pressed={coughing}
      aria-keyshortcuts={KEY_OF.cough}
      title={t('air.cough_hint')}
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId)
        room.cough(true)
      }}
      onPointerUp={release}
      onPointerCancel={release}
      onLostPointerCapture={release}
      onContextMenu={(event) => event.preventDefault()}
      onKeyDown={(event) => {
        if (event.key !== ' ' && event.key !== 'Enter') return
        event.preventDefault()
        if (!event.repeat) room.cough(true)
      }}
      onKeyUp={(event) => {
        if (event.key === ' ' || event.key === 'Enter') release()
      }}
      onBlur={release}
    >
      <Icon name="microphoneOff" />
      {t('air.cough_action')}
      <KeyHint>{KEY_OF.cough}</KeyHint>
    </button>
  )
}

export function Outgoing({ room }: { room: BoothRoom }) {
  const { state } = useStore(room.core.store)
  const booth = boothOf(state?.booths ?? [], room.store.value.info?.booth.language ?? null)
  const choices = outgoingChoices(booth)
  const group = useRef<HTMLDivElement>(null)
  if (choices.length < 2) return null
  const now = room.me()?.outgoing ?? choices[0]
  const name = (language: string) => boothOf(state?.booths ?? [], language)?.name ?? nameOfLanguage(language)
  return (
    <div class="outgoing">
      <span class="outgoing-label" id="outgoing-label">
        {t('air.outgoing')} <KeyHint>{KEY_OF.outgoing}</KeyHint>
      </span>
      <div
        class="segments"
        role="radiogroup"
        aria-labelledby="outgoing-label"
        aria-keyshortcuts={KEY_OF.outgoing}
        ref={group}
        onKeyDown={(event) => {
          if (!event.key.startsWith('Arrow')) return
          event.preventDefault()
          event.stopPropagation()
          room.switchOutgoing()
          group.current?.querySelector<HTMLElement>('[aria-checked="false"]')?.focus()
        }}
      >
        {choices.map((language, i) => (
          <button
            key={language}
            type="button"
            role="radio"
            class="segment"
            aria-checked={language === now}
            tabIndex={language === now ? 0 : -1}
            onClick={() => room.setOutgoing(language)}
          >
            <span class="segment-letter" aria-hidden="true">
              {i === 0 ? 'A' : 'B'}
            </span>
            <span lang={language}>{name(language)}</span>
          </button>
        ))}
      </div>
    </div>
  )
}

/**
 * The lamp says what is; the button says what it does, so that neither is taken for the other. Every change of the lamp is
 * announced (`AirAnnouncer`).
 */
export function AirPanel({ room }: { room: BoothRoom }) {
  // Everything that the lamp is made of.
  const { voice, voiceRefusal, microphone: wanted } = useStore(room.store)
  useStore(room.core.store)
  const { state: microphone, label } = useStore(room.microphone.store)
  const air = room.air()
  const on = room.switchedOn()
  const well = microphone === 'open' && voice === 'connected'
  return (
    <section class={`panel air air-${air}`} aria-labelledby="air-title">
      <h2 class="visually-hidden" id="air-title">
        {t('air.title')}
      </h2>
      <div class="air-bar">
        <p class="air-lamp">
          <span class="air-light" aria-hidden="true" />
          <span class="air-word">{airText(air)}</span>
        </p>
        <div class="air-main">
          <button
            type="button"
            class="air-switch"
            data-on={on}
            aria-keyshortcuts={KEY_OF.on_air}
            onClick={() => room.setOnAir(!on)}
          >
            <Icon name={on ? 'microphone' : 'microphoneOff'} />
            <span>{on ? t('air.go_off') : t('air.go_on')}</span>
            <KeyHint>{KEY_OF.on_air}</KeyHint>
          </button>
          <CoughButton room={room} />
        </div>
      </div>
      <Outgoing room={room} />
      <div class="air-microphone">
        <LevelMeter label={t('device.microphone_level')} read={() => room.microphoneMeter?.read() ?? -60} />
        <div class="air-device">
          <p class={well ? 'air-device-text' : 'air-device-text air-device-bad'} title={label}>
            {!well && <Icon name={wanted ? 'warning' : 'microphoneOff'} />}
            {microphoneText(microphone, voice, voiceRefusal)}
          </p>
          <button
            type="button"
            class="button button-small"
            aria-keyshortcuts={KEY_OF.microphone}
            onClick={() => room.connectMicrophone(!wanted || microphone === 'denied')}
          >
            {wanted && microphone !== 'denied' ? t('mic.disconnect') : t('mic.connect')}
            <KeyHint>{KEY_OF.microphone}</KeyHint>
          </button>
        </div>
      </div>
    </section>
  )
}
