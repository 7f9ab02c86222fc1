import { useState } from 'preact/hooks'
import { locale, t, translation } from '../../i18n'
import { Icon, type IconName } from '../../ui/icons'
import { Menu } from '../../ui/menu'
import { DVR_MINIMUM, type PlayerCore, type Snapshot } from '../core'
import { clockText, durationText } from '../time'
import { levelLabel, sortedLevels } from '../tracks'

export interface ControlsProps {
  core: PlayerCore
  snapshot: Snapshot
  fullscreen: boolean
  pip: boolean
  canFullscreen: boolean
  canPip: boolean
  onFullscreen(): void
  onPip(): void
  onHelp(): void
  announce(text: string): void
  /** A menu is open: the bar must stay. */
  onBusy(busy: boolean): void
}

function ControlButton(props: { icon: IconName; label: string; class?: string; pressed?: boolean; onClick(): void }) {
  return (
    <button
      type="button"
      class={`control ${props.class ?? ''}`}
      aria-label={props.label}
      aria-pressed={props.pressed}
      title={props.label}
      onClick={props.onClick}
    >
      <Icon name={props.icon} />
    </button>
  )
}

/** The wall clock of the event at a moment, in the viewer's own zone. */
function clockAt(date: number | null): string | null {
  return date === null ? null : new Intl.DateTimeFormat(locale(), { timeStyle: 'medium' }).format(date)
}

function SeekBar({ core, snapshot }: { core: PlayerCore; snapshot: Snapshot }) {
  // While it is dragged, the bar shows where it would go; the seek happens when it is let go.
  const [dragged, setDragged] = useState<number | null>(null)
  const { window: length, behind, date, atLive } = snapshot.time
  const shownBehind = dragged ?? (atLive ? 0 : behind)
  const shownDate = date === null ? null : date + (behind - shownBehind) * 1000
  const clock = clockAt(shownDate)
  const duration = durationText(Math.round(shownBehind), translation.value.language)
  const spoken =
    shownBehind < 1
      ? t('player.seek_live')
      : clock
        ? t('player.seek_behind_at', { duration, clock })
        : t('player.seek_behind', { duration })
  const fraction = length > 0 ? 1 - Math.min(1, shownBehind / length) : 1
  return (
    <div class="seek">
      <span class="seek-time" aria-hidden="true">
        {shownBehind < 1 ? (clock ?? '') : `−${clockText(shownBehind)}`}
      </span>
      <input
        class="range seek-range"
        type="range"
        min={-length}
        max={0}
        step={1}
        value={-Math.min(length, Math.round(shownBehind))}
        aria-label={t('player.seek')}
        aria-valuetext={spoken}
        title={clock ?? undefined}
        style={{ '--fill': `${(fraction * 100).toFixed(2)}%` }}
        onInput={(event) => setDragged(-Number(event.currentTarget.value))}
        onChange={(event) => {
          core.seekBehind(-Number(event.currentTarget.value))
          setDragged(null)
        }}
        onKeyDown={(event) => {
          // The native step is a second; the arrows go as far as the shortcuts do.
          const step = { ArrowLeft: -10, ArrowDown: -10, ArrowRight: 10, ArrowUp: 10, PageDown: -60, PageUp: 60 }[event.key]
          if (step === undefined) return
          event.preventDefault()
          core.seekBehind(Math.max(0, Math.min(length, (atLive ? 0 : behind) - step)))
        }}
      />
      <span class="seek-time seek-length" aria-hidden="true">
        −{clockText(length)}
      </span>
    </div>
  )
}

function LiveButton({ core, snapshot }: { core: PlayerCore; snapshot: Snapshot }) {
  const { latency, atLive, behind } = snapshot.time
  // Before the first picture, nobody watches anything live.
  const live = atLive && latency !== null && snapshot.playback !== 'paused' && !snapshot.awaitsPlay
  const seconds = latency === null ? '' : new Intl.NumberFormat(locale(), { maximumFractionDigits: 1, minimumFractionDigits: 1 }).format(latency)
  const delay = latency === null ? '' : t('player.live_latency', { seconds })
  return (
    <button
      type="button"
      class={`control live${live ? ' live-on' : ''}`}
      title={delay}
      onClick={() => core.goLive()}
    >
      <span class="live-dot" aria-hidden="true" />
      <span class="live-word">{t('player.live')}</span>
      <span class="visually-hidden">: {live ? t('player.live_at_edge') : t('player.go_live')}</span>
      {/* Changes several times a second: on screen and in the title, not in the name that is read out. */}
      <span class="live-delay" aria-hidden="true">
        {latency === null ? '' : live ? `${seconds} s` : `−${clockText(Math.max(behind, latency))}`}
      </span>
    </button>
  )
}

export function Controls(props: ControlsProps) {
  const { core, snapshot, announce } = props
  const [menu, setMenu] = useState<'quality' | 'language' | 'captions' | null>(null)
  const open = (which: NonNullable<typeof menu>) => (is: boolean) => {
    setMenu(is ? which : null)
    props.onBusy(is)
  }
  const playing = snapshot.playback === 'playing' || snapshot.playback === 'stalled' || snapshot.playback === 'loading'
  const silent = snapshot.muted || snapshot.volume === 0
  const percent = Math.round((silent ? 0 : snapshot.volume) * 100)
  const words = { source: t('player.quality_source'), audioOnly: t('player.quality_audio_only') }

  const levels = sortedLevels(snapshot.levels)
  const now = snapshot.levels.find((level) => level.index === snapshot.currentLevel)
  const nowLabel = now ? levelLabel(now, snapshot.levels, words) : ''
  const autoLabel = snapshot.level < 0 && nowLabel ? t('player.quality_auto_now', { now: nowLabel }) : t('player.quality_auto')
  const qualityItems = [
    { key: '-1', label: autoLabel, checked: snapshot.level < 0 },
    ...levels.map((level) => ({
      key: String(level.index),
      label: levelLabel(level, snapshot.levels, words),
      checked: snapshot.level === level.index,
    })),
  ]
  const audio = snapshot.audioTracks.find((track) => track.index === snapshot.audioTrack)
  const captions = snapshot.captionTracks.find((track) => track.index === snapshot.captionTrack)
  const captionItems = [
    { key: '-1', label: t('player.captions_off'), checked: snapshot.captionTrack < 0 },
    ...snapshot.captionTracks.map((track) => ({
      key: String(track.index),
      label: track.name,
      lang: track.language,
      checked: track.index === snapshot.captionTrack,
    })),
  ]

  return (
    <div class="controls" role="group" aria-label={t('player.controls')}>
      {snapshot.time.window >= DVR_MINIMUM && <SeekBar core={core} snapshot={snapshot} />}
      <div class="controls-row">
        <ControlButton
          icon={playing ? 'pause' : 'play'}
          label={playing ? t('player.pause') : t('player.play')}
          class="control-play"
          onClick={() => core.togglePlay()}
        />
        <div class="volume">
          <ControlButton
            icon={silent ? 'muted' : 'volume'}
            label={silent ? t('player.unmute') : t('player.mute')}
            class="control-mute"
            onClick={() => {
              core.setMuted(!silent)
              announce(t(silent ? 'announce.unmuted' : 'announce.muted'))
            }}
          />
          <input
            class="range volume-range"
            type="range"
            min={0}
            max={100}
            step={5}
            value={percent}
            aria-label={t('player.volume')}
            aria-valuetext={t('player.volume_value', { percent })}
            style={{ '--fill': `${percent}%` }}
            onInput={(event) => core.setVolume(Number(event.currentTarget.value) / 100)}
          />
        </div>
        <LiveButton core={core} snapshot={snapshot} />
        <span class="controls-space" />
        {snapshot.audioTracks.length > 1 && (
          <Menu
            label={t('player.language')}
            icon="language"
            value={audio?.name ?? ''}
            items={snapshot.audioTracks.map((track) => ({
              key: String(track.index),
              label: track.name,
              lang: track.language,
              checked: track.index === snapshot.audioTrack,
            }))}
            open={menu === 'language'}
            onOpen={open('language')}
            onSelect={(key) => {
              core.setAudioTrack(Number(key))
              announce(t('announce.language', { name: snapshot.audioTracks[Number(key)]?.name ?? '' }))
            }}
          />
        )}
        {snapshot.captionTracks.length > 0 && (
          <Menu
            label={t('player.captions')}
            icon="captions"
            value={captions?.name ?? ''}
            items={captionItems}
            open={menu === 'captions'}
            onOpen={open('captions')}
            onSelect={(key) => {
              core.setCaptionTrack(Number(key))
              announce(t('announce.captions', { name: captionItems.find((item) => item.key === key)?.label ?? '' }))
            }}
          />
        )}
        {snapshot.levels.length > 1 && (
          <Menu
            label={t('player.quality')}
            icon="quality"
            value={snapshot.level < 0 ? t('player.quality_auto') : nowLabel}
            items={qualityItems}
            open={menu === 'quality'}
            onOpen={open('quality')}
            onSelect={(key) => {
              core.setLevel(Number(key))
              announce(t('announce.quality', { name: qualityItems.find((item) => item.key === key)?.label ?? '' }))
            }}
          />
        )}
        <ControlButton icon="help" label={t('player.help')} class="control-help" onClick={props.onHelp} />
        {props.canPip && (
          <ControlButton
            icon="pip"
            label={props.pip ? t('player.pip_exit') : t('player.pip')}
            class="control-pip"
            onClick={props.onPip}
          />
        )}
        {props.canFullscreen && (
          <ControlButton
            icon={props.fullscreen ? 'fullscreenExit' : 'fullscreen'}
            label={props.fullscreen ? t('player.fullscreen_exit') : t('player.fullscreen')}
            class="control-fullscreen"
            onClick={props.onFullscreen}
          />
        )}
      </div>
    </div>
  )
}
