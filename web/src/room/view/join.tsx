/** Before the room: who one is, and whether microphone and headphones work. */
import { useEffect, useId, useRef, useState } from 'preact/hooks'
import { t } from '../../i18n'
import { useStore } from '../../store'
import { LanguageSelect } from '../../ui/language-select'
import type { BoothRoom } from '../booth'
import { DeviceFields } from './devices'
import { Notice } from './bits'
import { microphoneText, statusText } from './status'

/** Longest name that can be given. */
const MAX_NAME = 60

export interface NameFormProps {
  initial: string
  action: string
  onJoin(name: string): void
}

export function NameForm({ initial, action, onJoin }: NameFormProps) {
  const id = useId()
  const input = useRef<HTMLInputElement>(null)
  const [missing, setMissing] = useState(false)
  return (
    <form
      class="join-form"
      noValidate
      onSubmit={(event) => {
        event.preventDefault()
        const name = input.current?.value.trim() ?? ''
        setMissing(name === '')
        if (name === '') input.current?.focus()
        else onJoin(name)
      }}
    >
      <div class="field">
        <label for={id}>{t('join.name')}</label>
        <input
          ref={input}
          id={id}
          class="input"
          name="name"
          autocomplete="name"
          maxLength={MAX_NAME}
          defaultValue={initial}
          aria-describedby={missing ? `${id}-error` : `${id}-hint`}
          aria-invalid={missing}
          onInput={() => setMissing(false)}
        />
        {missing ? (
          <span class="field-error" id={`${id}-error`} role="alert">
            {t('join.name_missing')}
          </span>
        ) : (
          <span class="field-hint" id={`${id}-hint`}>
            {t('join.name_hint')}
          </span>
        )}
      </div>
      <button class="button button-primary join-action" type="submit">
        {action}
      </button>
    </form>
  )
}

export function BoothJoin({ room }: { room: BoothRoom }) {
  const info = useStore(room.store, (value) => value.info)
  const { state } = useStore(room.microphone.store)
  const wanted = useStore(room.store, (value) => value.microphone)

  useEffect(() => {
    // The names of devices are told only to who was allowed one; a browser that was asked before allows it at once.
    if (wanted) {
      room.openGraph()
      void room.microphone.open(room.preferences.value)
    }
  }, [])

  if (!info) return null
  const trouble = wanted && (state === 'denied' || state === 'missing' || state === 'insecure')
  return (
    <div class="join">
      <main class="join-main">
        <header class="join-head">
          <p class="join-kicker">{t('join.kicker')}</p>
          <h1 dir="auto">{info.event.name}</h1>
          <p class="join-booth">
            <span lang={info.booth.language}>{info.booth.name}</span>
            {info.booth.second_language && <span class="join-second"> / {info.booth.second_language.toUpperCase()}</span>}
            <span class={`pill${info.event.status === 'started' ? ' pill-live' : ''}`}>{statusText(info.event.status)}</span>
          </p>
        </header>
        <div class="join-two">
          <section class="card" aria-labelledby="join-who">
            <h2 id="join-who">{t('join.who')}</h2>
            <NameForm initial={room.preferences.value.name} action={t('join.action')} onJoin={(name) => room.join(name)} />
            <p class="field-hint">{t('join.off_air_hint')}</p>
          </section>
          <section class="card" aria-labelledby="join-devices">
            <h2 id="join-devices">{t('join.devices')}</h2>
            <div role="status">
              {trouble && (
                <Notice tone="bad" icon="microphoneOff">
                  <p>{microphoneText(state, 'off', null)}</p>
                </Notice>
              )}
            </div>
            <DeviceFields room={room} />
          </section>
        </div>
      </main>
      <footer class="footer">
        <span>{t('join.headset')}</span>
        <LanguageSelect />
      </footer>
    </div>
  )
}
