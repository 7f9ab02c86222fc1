/** Small parts that booth and management room share. */
import type { ComponentChildren, RefObject } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { locale, t } from '../../i18n'
import { Icon, type IconName } from '../../ui/icons'
import { SILENCE_DB } from '../graph'
import type { PictureAge } from '../picture'
import type { Grade } from '../protocol'
import { timeOfDay } from '../state'

/** How often a meter moves (ms). */
const METER_EVERY = 50
/** dB per second at which a meter falls, and how long the highest peak stays. */
const FALL = 40
const PEAK_STAYS = 1200
/** Screen readers are told the level this often (ms). */
const SAY_EVERY = 1000

/** Position on a meter of a level in dB: 0 to 1. */
const position = (db: number): number => Math.min(1, Math.max(0, (db - SILENCE_DB) / -SILENCE_DB))

/** A level in dB relative to full scale. Its colours say where it is good; the value is read out too. */
export function LevelMeter({ label, read }: { label: string; read(): number }) {
  const bar = useRef<HTMLDivElement>(null)
  const newest = useRef(read)
  newest.current = read
  useEffect(() => {
    let shown = SILENCE_DB
    let peak = SILENCE_DB
    let peakAt = 0
    let last = performance.now()
    let said = 0
    const timer = setInterval(() => {
      const element = bar.current
      if (!element) return
      const now = performance.now()
      const level = newest.current()
      shown = Math.max(level, shown - (FALL * (now - last)) / 1000, SILENCE_DB)
      if (shown >= peak || now - peakAt > PEAK_STAYS) {
        peak = shown
        peakAt = now
      }
      last = now
      element.style.setProperty('--level', position(shown).toFixed(3))
      element.style.setProperty('--peak', position(peak).toFixed(3))
      if (now - said > SAY_EVERY) {
        said = now
        const rounded = Math.round(peak)
        element.setAttribute('aria-valuenow', String(rounded))
        element.setAttribute('aria-valuetext', rounded <= SILENCE_DB ? t('room.silent') : t('room.db', { db: rounded }))
      }
    }, METER_EVERY)
    return () => clearInterval(timer)
  }, [])
  return (
    <div class="meter" role="meter" aria-label={label} aria-valuemin={SILENCE_DB} aria-valuemax={0} aria-valuenow={SILENCE_DB} ref={bar}>
      <div class="meter-bar" />
      <div class="meter-peak" />
    </div>
  )
}

/** The daemon's time of day, since that is what everybody in the event shares. */
export function Clock({ offset }: { offset: number }) {
  const [now, setNow] = useState(Date.now())
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000)
    return () => clearInterval(timer)
  }, [])
  return (
    <time class="room-clock" dateTime={new Date(now + offset).toISOString()}>
      <span class="visually-hidden">{t('room.clock')} </span>
      {timeOfDay(now + offset, locale(), true)}
    </time>
  )
}

export function gradeText(grade: Grade | null): string {
  if (grade === null) return t('grade.unknown')
  return t(`grade.${grade}`)
}

export function GradeDot({ grade }: { grade: Grade | null }) {
  return <span class={`grade-dot grade-${grade ?? 'unknown'}`} aria-hidden="true" />
}

export const milliseconds = (value: number | null): string => (value === null ? '–' : t('room.ms', { ms: Math.round(value) }))

/** A share as percent: small losses with a decimal, since they matter. */
export function percent(value: number | null): string {
  if (value === null) return '–'
  const hundred = value * 100
  return `${new Intl.NumberFormat(locale(), { maximumFractionDigits: hundred < 10 ? 1 : 0 }).format(hundred)} %`
}

/** A lamp with its words: never by colour alone. */
export function Lamp({ on, text }: { on: boolean; text: string }) {
  return (
    <span class={`lamp${on ? ' lamp-on' : ''}`}>
      <span class="lamp-light" aria-hidden="true" />
      {text}
    </span>
  )
}

/** The key that does the same. Decoration: `aria-keyshortcuts` says it. */
export function KeyHint({ children }: { children: string | undefined }) {
  return children ? (
    <kbd class="key-hint" aria-hidden="true">
      {children}
    </kbd>
  ) : null
}

export interface NoticeProps {
  tone: 'warn' | 'bad' | 'info'
  icon?: IconName
  children: ComponentChildren
}

/** The title of a room that one has just entered takes the focus, which was on a form that is gone. */
export function useEntered(): RefObject<HTMLHeadingElement | null> {
  const title = useRef<HTMLHeadingElement>(null)
  useEffect(() => title.current?.focus(), [])
  return title
}

/** A message with or without buttons. Its container is the live region. */
export function Notice({ tone, icon = 'warning', children }: NoticeProps) {
  return (
    <div class={`notice notice-${tone}`}>
      <Icon name={icon} />
      <div class="notice-body">{children}</div>
    </div>
  )
}

export interface RangeProps {
  label: string
  value: number
  min: number
  max: number
  step: number
  text: string
  keys?: string
  onInput(value: number): void
}

export function Range({ label, value, min, max, step, text, keys, onInput }: RangeProps) {
  return (
    <label class="range">
      <span class="range-label">{label}</span>
      <input
        type="range"
        min={min}
        max={max}
        step={step}
        value={value}
        aria-valuetext={text}
        aria-keyshortcuts={keys}
        onInput={(event) => onInput(event.currentTarget.valueAsNumber)}
      />
      <output class="range-value" aria-hidden="true">
        {text}
      </output>
    </label>
  )
}

interface RoomPictureProps {
  stream: MediaStream | null
  /** What is told of its pictures. */
  age: PictureAge
  label: string
  waiting: string | null
}

/** Picture of a room; its sound goes through the graph, so the element itself is mute. */
export function RoomPicture({ stream, age, label, waiting }: RoomPictureProps) {
  const video = useRef<HTMLVideoElement>(null)
  useEffect(() => {
    const element = video.current
    if (!element) return
    element.srcObject = stream
    // Muted playback is always allowed; a stream that ends meanwhile refuses it harmlessly.
    if (stream) element.play().catch(() => undefined)
  }, [stream])
  useEffect(() => (video.current ? age.watch(video.current) : undefined), [age])
  return (
    <div class="picture">
      <video ref={video} muted playsInline aria-label={label} />
      {waiting && <p class="picture-text">{waiting}</p>}
    </div>
  )
}

/** What a link that does not work, or no longer, is told as. */
export function FullPage({ title, text, children }: { title: string; text: string; children?: ComponentChildren }) {
  return (
    <main class="room-message">
      <div class="card">
        <h1>{title}</h1>
        <p role="status">{text}</p>
        {children}
      </div>
    </main>
  )
}
