import { useCallback, useEffect, useRef, useState } from 'preact/hooks'
import { t, useLanguage } from '../../i18n'
import { useStore } from '../../store'
import { Banner } from '../../ui/banner'
import { Icon } from '../../ui/icons'
import type { PlayerCore, Snapshot } from '../core'
import { imageFor, textFor } from '../state'
import { actionFor, focusKind, type Action } from '../shortcuts'
import { Captions } from './captions'
import { Controls } from './controls'
import { Cover } from './cover'
import { HelpDialog } from './help'

/** The bar goes away after this time without a movement, while it plays. */
const HIDE_AFTER = 3000
/** How far an arrow key seeks, in seconds. */
const SEEK_STEP = 10
const VOLUME_STEP = 0.1

/** Full screen and picture in picture as far as this browser has them; iPhones full-screen the video alone. */
interface AppleVideo extends HTMLVideoElement {
  webkitEnterFullscreen?: () => void
  webkitSupportsFullscreen?: boolean
}

function useDocumentFlag(target: EventTarget, events: readonly string[], read: () => boolean): boolean {
  const [flag, setFlag] = useState(read)
  useEffect(() => {
    const update = () => setFlag(read())
    for (const name of events) target.addEventListener(name, update)
    return () => {
      for (const name of events) target.removeEventListener(name, update)
    }
  }, [])
  return flag
}

/** Whether the message is due: it hides at its end by itself. */
function useServiceMessage(snapshot: Snapshot): string | null {
  const message = snapshot.event?.serviceMessage ?? null
  const [, redraw] = useState(0)
  const left = message?.until == null ? null : message.until - (Date.now() + (snapshot.event?.clockOffset ?? 0))
  useEffect(() => {
    // Longer timers than 24 days overflow in browsers; such a message is as good as lasting.
    if (left === null || left <= 0 || left > 2 ** 31 - 1) return
    const timer = setTimeout(() => redraw((count) => count + 1), left + 50)
    return () => clearTimeout(timer)
  }, [message])
  const live = snapshot.phase === 'live' || snapshot.phase === 'draining'
  return message && live && (left === null || left > 0) ? message.text : null
}

export function Player({ core, fill = false }: { core: PlayerCore; fill?: boolean }) {
  useLanguage()
  const snapshot = useStore(core.store)
  const root = useRef<HTMLDivElement>(null)
  const stage = useRef<HTMLDivElement>(null)
  const [active, setActive] = useState(true)
  const [busy, setBusy] = useState(false)
  const [help, setHelp] = useState(false)
  const [shortcuts, setShortcuts] = useState(core.preferences.value.shortcuts)
  const [announcement, setAnnouncement] = useState('')
  const [dismissed, setDismissed] = useState<string | null>(null)
  const hideTimer = useRef<number | null>(null)

  const video = core.video as AppleVideo
  const fullscreen = useDocumentFlag(document, ['fullscreenchange'], () => document.fullscreenElement === root.current && root.current !== null)
  const pip = useDocumentFlag(video, ['enterpictureinpicture', 'leavepictureinpicture'], () => document.pictureInPictureElement === video)
  const canFullscreen = document.fullscreenEnabled || video.webkitEnterFullscreen !== undefined
  const canPip = document.pictureInPictureEnabled && !video.disablePictureInPicture

  const announce = useCallback((text: string) => setAnnouncement(text), [])

  useEffect(() => {
    stage.current?.prepend(core.video, core.freezeFrame)
  }, [core])

  const stir = useCallback(() => {
    setActive(true)
    if (hideTimer.current !== null) clearTimeout(hideTimer.current)
    hideTimer.current = window.setTimeout(() => setActive(false), HIDE_AFTER)
  }, [])
  useEffect(() => {
    stir()
    return () => {
      if (hideTimer.current !== null) clearTimeout(hideTimer.current)
    }
  }, [])

  const toggleFullscreen = () => {
    if (document.fullscreenElement) void document.exitFullscreen()
    // Refused without a gesture, or by the embedding page: the button then simply does nothing.
    else if (document.fullscreenEnabled) root.current?.requestFullscreen().catch(() => undefined)
    else video.webkitEnterFullscreen?.()
  }

  const togglePip = () => {
    if (document.pictureInPictureElement) void document.exitPictureInPicture()
    else void video.requestPictureInPicture().catch(() => undefined)
  }

  const live = snapshot.phase === 'live' || snapshot.phase === 'draining'
  const unsupported = snapshot.error?.code === 'unsupported'
  const showControls = live && !unsupported

  const act = (action: Action) => {
    if (action === 'help') return setHelp(true)
    if (action === 'fullscreen') return toggleFullscreen()
    if (!showControls) return
    switch (action) {
      case 'play':
        return core.togglePlay()
      case 'mute':
        core.setMuted(!snapshot.muted)
        return announce(t(snapshot.muted ? 'announce.unmuted' : 'announce.muted'))
      case 'louder':
      case 'quieter':
        core.setVolume(Math.round((snapshot.volume + (action === 'louder' ? VOLUME_STEP : -VOLUME_STEP)) * 10) / 10)
        return announce(t('announce.volume', { percent: Math.round(core.video.volume * 100) }))
      case 'back':
        return core.seekBy(-SEEK_STEP)
      case 'forward':
        return core.seekBy(SEEK_STEP)
      case 'start':
        return core.seekBehind(snapshot.time.window)
      case 'live':
        return core.goLive()
      case 'captions': {
        if (snapshot.captionTracks.length === 0) return
        core.toggleCaptions()
        const { captionTrack, captionTracks } = core.store.value
        const name = captionTracks.find((track) => track.index === captionTrack)?.name ?? t('player.captions_off')
        return announce(t('announce.captions', { name }))
      }
      case 'pip':
        if (canPip) togglePip()
    }
  }

  const handleKey = useRef<(event: KeyboardEvent) => void>(() => undefined)
  handleKey.current = (event) => {
    stir()
    const input = { key: event.key, ctrl: event.ctrlKey, alt: event.altKey, meta: event.metaKey }
    const action = actionFor(input, focusKind(event.target as Element), shortcuts)
    if (!action) return
    event.preventDefault()
    act(action)
  }
  useEffect(() => {
    // The player is what its page is for: keys work in it and where nothing else has the focus.
    const listen = (event: KeyboardEvent) => {
      const target = event.target as Element | null
      if (target === document.body || root.current?.contains(target)) handleKey.current(event)
    }
    document.addEventListener('keydown', listen)
    return () => document.removeEventListener('keydown', listen)
  }, [])

  const message = useServiceMessage(snapshot)
  const waiting = live && !unsupported && !snapshot.awaitsPlay && (snapshot.playback === 'loading' || snapshot.playback === 'stalled')
  const trouble = snapshot.error !== null && !unsupported
  const waitingText = snapshot.offline
    ? t('player.reconnecting')
    : trouble && snapshot.error?.httpStatus !== 404
      ? t('player.repairing')
      : snapshot.playback === 'loading' && !snapshot.frozen
        ? ((snapshot.event && textFor(snapshot.event, 'started')) ?? t('player.waiting'))
        : ''
  // Until the first picture is there, the event's own stands in.
  const nothingYet = live && !unsupported && !snapshot.frozen && (snapshot.awaitsPlay || snapshot.playback === 'loading')
  const poster = nothingYet && snapshot.event ? (snapshot.event.images.poster ?? imageFor(snapshot.event, 'started')) : undefined
  const barShown = showControls && (active || busy || help || snapshot.playback !== 'playing' || snapshot.soundBlocked || snapshot.awaitsPlay)
  const captionLanguage = snapshot.captionTracks.find((track) => track.index === snapshot.captionTrack)?.language ?? ''

  return (
    <div
      ref={root}
      class={`player${fill ? ' player-fill' : ''}${barShown ? ' player-active' : ''}${showControls ? ' player-live' : ''}`}
      role="region"
      aria-label={t('player.region', { name: snapshot.event?.name || t('index.title') })}
      onPointerMove={stir}
      onPointerDown={stir}
      onFocusIn={stir}
      onPointerLeave={(event) => {
        if (event.pointerType === 'mouse') setActive(false)
      }}
    >
      <div
        ref={stage}
        class={`stage${snapshot.frozen ? ' stage-frozen' : ''}`}
        onClick={(event) => {
          // A tap on a touch screen shows the bar; a click plays or pauses. The buttons do the same for the keyboard.
          if (showControls && (event as unknown as PointerEvent).pointerType === 'mouse') core.togglePlay()
        }}
        onDblClick={() => showControls && canFullscreen && toggleFullscreen()}
      />
      {live && <Captions cues={snapshot.cues} lang={captionLanguage} raised={barShown} />}
      <Cover snapshot={snapshot} />
      {poster && <img class="poster" src={poster} alt="" />}
      {waiting && (
        <div class="wait">
          <span class="spinner" aria-hidden="true" />
          {waitingText ? <p class="wait-text">{waitingText}</p> : <span class="visually-hidden">{t('player.buffering')}</span>}
        </div>
      )}
      {showControls && snapshot.awaitsPlay && (
        <button type="button" class="big-play" aria-label={t('player.play')} title={t('player.play')} onClick={() => core.play()}>
          <Icon name="play" />
        </button>
      )}
      {showControls && snapshot.soundBlocked && !snapshot.awaitsPlay && (
        <button
          type="button"
          class="sound-blocked"
          onClick={() => {
            core.setMuted(false)
            announce(t('announce.unmuted'))
          }}
        >
          <Icon name="muted" />
          {t('player.sound_blocked')}
        </button>
      )}
      <div class="messages" role="status">
        {message && message !== dismissed && (
          <Banner label={t('page.service_message')} text={message} closeLabel={t('page.dismiss')} onClose={() => setDismissed(message)} />
        )}
      </div>
      <div class="visually-hidden" role="status">
        {announcement}
      </div>
      <div class="visually-hidden" role="status">
        {pageAnnouncement(snapshot)}
      </div>
      {showControls && (
        <Controls
          core={core}
          snapshot={snapshot}
          fullscreen={fullscreen}
          pip={pip}
          canFullscreen={canFullscreen}
          canPip={canPip}
          onFullscreen={toggleFullscreen}
          onPip={togglePip}
          onHelp={() => setHelp(true)}
          announce={announce}
          onBusy={setBusy}
        />
      )}
      <HelpDialog
        open={help}
        enabled={shortcuts}
        onEnabled={(enabled) => {
          setShortcuts(enabled)
          core.preferences.set({ shortcuts: enabled })
        }}
        onClose={() => setHelp(false)}
      />
    </div>
  )
}

/** A change of page is read out, as sighted viewers see it. */
function pageAnnouncement({ phase, event }: Snapshot): string {
  switch (phase) {
    case 'holding':
      return (event && textFor(event, event.status)) ?? t('page.holding_title')
    case 'paused':
      return (event && textFor(event, 'paused')) ?? t('page.paused_title')
    case 'ended':
      return (event && textFor(event, 'ended')) ?? t('page.ended_title')
    case 'gone':
      return t('page.gone_title')
    case 'denied':
      return t('page.denied_title')
    default:
      return ''
  }
}
