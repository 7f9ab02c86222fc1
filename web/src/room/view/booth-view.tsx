/** The booth's console: header, notices, picture, listening, microphone, actions, people, chat. */
import { useEffect, useRef, useState } from 'preact/hooks'
import { t } from '../../i18n'
import { useStore } from '../../store'
import { Dialog } from '../../ui/dialog'
import { Icon } from '../../ui/icons'
import { LanguageSelect } from '../../ui/language-select'
import { TONE_STEP, VOLUME_STEP, type BoothRoom } from '../booth'
import { boothAction, focusKind, KEY_OF, type BoothAction } from '../shortcuts'
import { bothOpen, handoverOf, outgoingChoices, type HandoverView } from '../state'
import { AirPanel } from './air'
import { Clock, GradeDot, gradeText, KeyHint, milliseconds, Notice, percent, RoomPicture, useEntered } from './bits'
import { BoothHelp } from './booth-help'
import { Chat } from './chat'
import { DeviceFields } from './devices'
import { ListenPanel } from './listen'
import { PeoplePanel } from './people'
import { airText, ClosedRoom, soundText, statusText } from './status'

/** How the connection fares: a word always, the figures behind it. */
function Connection({ room }: { room: BoothRoom }) {
  const { figures } = useStore(room.store)
  return (
    <details class="connection">
      <summary class="connection-summary">
        <span class="visually-hidden">{t('quality.connection')} </span>
        <GradeDot grade={figures.grade} />
        <span class="connection-word">{gradeText(figures.grade)}</span>
        <span class="connection-rtt">{milliseconds(figures.rtt_ms)}</span>
      </summary>
      <dl class="connection-figures">
        <div>
          <dt>{t('quality.rtt')}</dt>
          <dd>{milliseconds(figures.rtt_ms)}</dd>
        </div>
        <div>
          <dt>{t('quality.jitter')}</dt>
          <dd>{milliseconds(figures.jitter_ms)}</dd>
        </div>
        <div>
          <dt>{t('quality.loss_up')}</dt>
          <dd>{percent(figures.loss_up)}</dd>
        </div>
        <div>
          <dt>{t('quality.loss_down')}</dt>
          <dd>{percent(figures.loss_down)}</dd>
        </div>
        <div>
          <dt>{t('quality.playout')}</dt>
          <dd>{milliseconds(figures.playout_ms)}</dd>
        </div>
      </dl>
    </details>
  )
}

function Header({ room, onHelp, onSettings }: { room: BoothRoom; onHelp(): void; onSettings(): void }) {
  const { state, clockOffset } = useStore(room.core.store)
  const info = useStore(room.store, (value) => value.info)
  const event = state?.event ?? info?.event
  const title = useEntered()
  return (
    <header class="room-head">
      <h1 class="room-title" ref={title} tabIndex={-1}>
        <span class="room-booth" lang={info?.booth.language}>
          {info?.booth.name}
        </span>
        <span class="room-event" dir="auto">
          {event?.name}
        </span>
      </h1>
      <div class="room-facts">
        {event && <span class={`pill${event.status === 'started' ? ' pill-live' : ''}`}>{statusText(event.status)}</span>}
        <Clock offset={clockOffset} />
        <Connection room={room} />
        <button type="button" class="icon-button" aria-label={t('settings.title')} aria-keyshortcuts={KEY_OF.settings} title={t('settings.title')} onClick={onSettings}>
          <Icon name="settings" />
        </button>
        <button type="button" class="icon-button" aria-label={t('help.title')} aria-keyshortcuts="?" title={t('help.title')} onClick={onHelp}>
          <Icon name="help" />
        </button>
      </div>
    </header>
  )
}

function HandoverNotice({ room, view }: { room: BoothRoom; view: HandoverView }) {
  if (view.kind !== 'offer' && view.kind !== 'ask') return null
  const offered = view.kind === 'offer'
  return (
    <Notice tone="info" icon="handover">
      <p>{offered ? t('handover.offer', { name: view.from }) : t('handover.ask', { name: view.from })}</p>
      <div class="notice-actions">
        <button type="button" class="button button-primary" aria-keyshortcuts={KEY_OF.take} onClick={() => room.handover('take')}>
          {offered ? t('handover.take') : t('handover.give')} <KeyHint>{KEY_OF.take}</KeyHint>
        </button>
        <button type="button" class="button" aria-keyshortcuts={KEY_OF.decline} onClick={() => room.handover('decline')}>
          {t('handover.decline')} <KeyHint>{KEY_OF.decline}</KeyHint>
        </button>
      </div>
    </Notice>
  )
}

function Notices({ room, view }: { room: BoothRoom; view: HandoverView }) {
  const { socket, closed, error, state } = useStore(room.core.store)
  const audible = useStore(room.store, (value) => value.audible)
  const me = room.me()
  const booth = room.booth()
  const open = bothOpen(booth, state?.people ?? [])
  const slow = state?.booths.filter((one) => one.slow_down) ?? []
  return (
    <div class="notices" role="status">
      {closed?.reason === 'event' ? (
        <Notice tone="info" icon="clock">
          <p>{t('closed.event')}</p>
        </Notice>
      ) : (
        socket !== 'open' && (
          <Notice tone="bad" icon="signal">
            <p>{socket === 'connecting' ? t('room.connecting') : t('room.reconnecting')}</p>
          </Notice>
        )
      )}
      {booth?.muted && (
        <Notice tone="bad" icon="microphoneOff">
          <p>{t('air.muted_notice')}</p>
        </Notice>
      )}
      {open.length > 0 && (
        <Notice tone="warn">
          <p>{t('handover.both_open', { names: open.join(', ') })}</p>
        </Notice>
      )}
      <HandoverNotice room={room} view={view} />
      {me?.calling && (
        <Notice tone="info" icon="bell">
          <p>{t('call.waiting')}</p>
        </Notice>
      )}
      {slow.length > 0 && (
        <Notice tone="warn" icon="slow">
          <p>{t('slow.asked', { booths: slow.map((one) => one.name).join(', ') })}</p>
        </Notice>
      )}
      {!audible && (
        <Notice tone="warn" icon="headphones">
          <p>{t('room.sound_blocked')}</p>
          <div class="notice-actions">
            <button type="button" class="button" onClick={() => room.graph?.resume()}>
              {t('player.sound_blocked')}
            </button>
          </div>
        </Notice>
      )}
      {error && (
        <Notice tone="warn">
          <p>{error}</p>
        </Notice>
      )}
    </div>
  )
}

/** What the hand-over button does now. */
function handOver(room: BoothRoom, view: HandoverView): void {
  if (view.kind === 'can_offer') room.handover('offer')
  else if (view.kind === 'can_ask') room.handover('ask')
  else if (view.kind === 'offered' || view.kind === 'asked') room.handover('decline')
  else if (view.kind === 'offer' || view.kind === 'ask') room.handover('take')
}

function handoverLabel(view: HandoverView): string {
  switch (view.kind) {
    case 'can_ask':
      return t('handover.can_ask')
    case 'offered':
    case 'asked':
      return t('handover.withdraw')
    case 'offer':
      return t('handover.take')
    case 'ask':
      return t('handover.give')
    default:
      return t('handover.can_offer')
  }
}

function Actions({ room, view }: { room: BoothRoom; view: HandoverView }) {
  useStore(room.core.store)
  const calling = room.me()?.calling ?? false
  const slow = room.booth()?.slow_down ?? false
  return (
    <section class="panel actions" aria-label={t('actions.title')}>
      <button
        type="button"
        class={`button action${view.kind === 'offered' || view.kind === 'asked' ? ' action-on' : ''}`}
        aria-disabled={view.kind === 'none'}
        aria-keyshortcuts={KEY_OF.handover}
        onClick={() => handOver(room, view)}
      >
        <Icon name="handover" />
        <span>{handoverLabel(view)}</span>
        <KeyHint>{KEY_OF.handover}</KeyHint>
      </button>
      <button type="button" class={`button action${slow ? ' action-on' : ''}`} aria-keyshortcuts={KEY_OF.slow_down} onClick={() => room.slowDown()}>
        <Icon name="slow" />
        <span>{t('slow.action')}</span>
        <KeyHint>{KEY_OF.slow_down}</KeyHint>
      </button>
      <button type="button" class={`button action${calling ? ' action-on' : ''}`} aria-pressed={calling} aria-keyshortcuts={KEY_OF.call} onClick={() => room.callManager()}>
        <Icon name="bell" />
        <span>{t('call.action')}</span>
        <KeyHint>{KEY_OF.call}</KeyHint>
      </button>
    </section>
  )
}

/** Says every change of the lamp at once: what is on air must not be learned late. */
function AirAnnouncer({ room }: { room: BoothRoom }) {
  useStore(room.core.store)
  useStore(room.store)
  const air = room.air()
  const first = useRef(true)
  const [said, setSaid] = useState('')
  useEffect(() => {
    document.title = `${air === 'on' ? `● ${t('air.on')} – ` : ''}${room.store.value.info?.booth.name ?? ''} · Boothcast`
    if (first.current) first.current = false
    else setSaid(airText(air))
  }, [air])
  return (
    <div class="visually-hidden" aria-live="assertive" data-announcer="air">
      {said}
    </div>
  )
}

export function Booth({ room }: { room: BoothRoom }) {
  const { state, closed, socket, you } = useStore(room.core.store)
  const { state: sound, refusal, stream } = useStore(room.listening.store)
  const [help, setHelp] = useState(false)
  const [settings, setSettings] = useState(false)
  const [shortcuts, setShortcuts] = useState(room.preferences.value.shortcuts)
  const field = useRef<HTMLTextAreaElement>(null)
  const own = room.booth()
  const view = handoverOf(room.me(), own, state?.people ?? [])

  const ownLanguage = room.store.value.info?.booth.language
  const threads = [
    { key: 'booth', label: t('chat.booth'), name: '' },
    { key: 'managers', label: t('chat.managers'), name: '' },
    { key: 'all', label: t('chat.all'), name: '' },
    ...(state?.booths ?? [])
      .filter((one) => one.language !== ownLanguage)
      .map((one) => ({ key: `booth:${one.language}`, label: one.language.toUpperCase(), name: t('chat.other', { booth: one.name }) })),
  ]

  const act = (action: BoothAction): void => {
    const tone = room.tone.value
    const view = handoverOf(room.me(), room.booth(), room.core.store.value.state?.people ?? [])
    const relays = room.core.store.value.state?.relays ?? []
    switch (action) {
      case 'on_air':
        return room.setOnAir(!room.switchedOn())
      case 'cough':
        return room.cough(true)
      case 'microphone':
        return room.connectMicrophone(!room.store.value.microphone)
      case 'outgoing':
        return room.switchOutgoing()
      case 'handover':
        return handOver(room, view)
      case 'take':
        return view.kind === 'offer' || view.kind === 'ask' ? room.handover('take') : undefined
      case 'decline':
        return view.kind === 'none' || view.kind.startsWith('can') ? undefined : room.handover('decline')
      case 'slow_down':
        return room.slowDown()
      case 'call':
        return room.callManager()
      case 'floor':
        return room.listen('floor')
      case 'next_source':
        return room.listenNext()
      case 'louder':
        return room.setTone({ volume: tone.volume + VOLUME_STEP })
      case 'quieter':
        return room.setTone({ volume: tone.volume - VOLUME_STEP })
      case 'bass_up':
        return room.setTone({ bass: tone.bass + TONE_STEP })
      case 'bass_down':
        return room.setTone({ bass: tone.bass - TONE_STEP })
      case 'treble_up':
        return room.setTone({ treble: tone.treble + TONE_STEP })
      case 'treble_down':
        return room.setTone({ treble: tone.treble - TONE_STEP })
      case 'limiter':
        return room.setTone({ limiter: !tone.limiter })
      case 'write':
        return field.current?.focus()
      case 'next_chat': {
        const at = threads.findIndex((one) => one.key === room.core.store.value.thread)
        return room.core.openThread(threads[(at + 1) % threads.length]?.key ?? 'booth')
      }
      case 'settings':
        return setSettings(true)
      case 'help':
        return setHelp(true)
      default: {
        const relay = relays[Number(action.slice('source_'.length)) - 1]
        if (relay?.refused === null) room.listen(relay.source)
      }
    }
  }

  useEffect(() => {
    const down = (event: KeyboardEvent) => {
      // A dialog has the keys for itself.
      if (event.defaultPrevented || document.querySelector('dialog[open]')) return
      const input = { key: event.key, ctrl: event.ctrlKey, alt: event.altKey, meta: event.metaKey }
      const action = boothAction(input, focusKind(document.activeElement), room.preferences.value.shortcuts)
      if (!action) return
      event.preventDefault()
      // A key that is held repeats; only volume and tone go on.
      const repeats = ['louder', 'quieter', 'bass_up', 'bass_down', 'treble_up', 'treble_down']
      if (!event.repeat || repeats.includes(action)) act(action)
    }
    const up = (event: KeyboardEvent) => {
      if (event.key.toLowerCase() === 'c') room.cough(false)
    }
    addEventListener('keydown', down)
    addEventListener('keyup', up)
    return () => {
      removeEventListener('keydown', down)
      removeEventListener('keyup', up)
    }
  })

  if (closed && socket === 'closed') return <ClosedRoom closed={closed} onReopen={() => room.core.socket.reopen()} />

  const air = room.air()
  return (
    <div class={`booth booth-${air}`} data-you={you ?? ''}>
      <Header room={room} onHelp={() => setHelp(true)} onSettings={() => setSettings(true)} />
      <AirAnnouncer room={room} />
      <main class={`booth-main${outgoingChoices(own).length > 1 ? ' booth-bilingual' : ''}`}>
        <div class="booth-stage">
          <Notices room={room} view={view} />
          <RoomPicture stream={stream} age={room.listening.picture} label={t('room.picture')} waiting={soundText(sound, refusal)} />
        </div>
        <div class="console">
          <ListenPanel room={room} />
          <AirPanel room={room} />
          <Actions room={room} view={view} />
        </div>
        <aside class="booth-side" aria-label={t('room.side')}>
          <PeoplePanel room={room} />
          <Chat core={room.core} threads={threads} field={field} />
        </aside>
      </main>
      <BoothHelp
        open={help}
        enabled={shortcuts}
        onEnabled={(enabled) => {
          room.preferences.set({ shortcuts: enabled })
          setShortcuts(enabled)
        }}
        onClose={() => setHelp(false)}
      />
      <Dialog title={t('settings.title')} closeLabel={t('help.close')} open={settings} onClose={() => setSettings(false)}>
        {settings && (
          <>
            <DeviceFields room={room} />
            <LanguageSelect />
          </>
        )}
      </Dialog>
    </div>
  )
}
