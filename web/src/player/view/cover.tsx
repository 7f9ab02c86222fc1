import { useEffect, useState } from 'preact/hooks'
import { locale, t, translation } from '../../i18n'
import { Icon } from '../../ui/icons'
import { countdownParts } from '../time'
import { imageFor, textFor, type EventState, type Status } from '../state'
import type { Snapshot } from '../core'

/** Milliseconds until `at` on the server's clock, told again every second. */
function useTimeLeft(at: number | null, clockOffset: number): number | null {
  const [now, setNow] = useState(() => Date.now())
  useEffect(() => {
    if (at === null) return
    setNow(Date.now())
    const timer = setInterval(() => setNow(Date.now()), 1000)
    return () => clearInterval(timer)
  }, [at])
  return at === null ? null : at - (now + clockOffset)
}

function Countdown({ event }: { event: EventState }) {
  const left = useTimeLeft(event.scheduledStart, event.clockOffset)
  if (event.scheduledStart === null || left === null) return null
  const { language } = translation.value
  const date = new Intl.DateTimeFormat(locale(), { dateStyle: 'full', timeStyle: 'short' }).format(event.scheduledStart)
  const over = left <= 0
  return (
    <>
      {event.countdown && !over && (
        <div class="countdown" role="timer" aria-label={t('page.countdown')}>
          {countdownParts(left).map(({ unit, value }) => {
            const parts = new Intl.NumberFormat(language, { style: 'unit', unit, unitDisplay: 'long' }).formatToParts(value)
            const number = parts.filter((part) => part.type !== 'unit' && part.type !== 'literal').map((part) => part.value)
            return (
              <span class="countdown-part" key={unit}>
                <span class="countdown-number">{unit === 'day' ? number.join('') : number.join('').padStart(2, '0')}</span>{' '}
                <span class="countdown-unit">{parts.find((part) => part.type === 'unit')?.value}</span>
              </span>
            )
          })}
        </div>
      )}
      <p class="cover-date">
        <Icon name="clock" />
        {over ? t('page.holding_soon') : t('page.holding_at', { date })}
      </p>
    </>
  )
}

interface Page {
  /** The status whose own words and picture may stand here, or null for a page that is ours alone. */
  status: Status | null
  title: string
  text: string
}

function pageFor(snapshot: Snapshot): Page | null {
  if (snapshot.error?.code === 'unsupported') {
    return { status: null, title: t('player.unsupported_title'), text: t('player.unsupported_text') }
  }
  switch (snapshot.phase) {
    case 'connecting':
      return { status: null, title: t('page.connecting'), text: '' }
    case 'holding':
      return { status: snapshot.event?.status ?? null, title: t('page.holding_title'), text: '' }
    case 'paused':
      return { status: 'paused', title: t('page.paused_title'), text: t('page.paused_text') }
    case 'ended':
      return { status: 'ended', title: t('page.ended_title'), text: t('page.ended_text') }
    case 'gone':
      return { status: null, title: t('page.gone_title'), text: t('page.gone_text') }
    case 'denied':
      return { status: null, title: t('page.denied_title'), text: t('page.denied_text') }
    case 'live':
    case 'draining':
      return null
  }
}

/** The manager's words: the first line is the title, what follows is set smaller. */
function OwnWords({ text }: { text: string }) {
  const [title, ...rest] = text.trim().split('\n')
  return (
    <>
      <p class="cover-title cover-own" dir="auto">
        {title}
      </p>
      {rest.length > 0 && (
        <p class="cover-text cover-own" dir="auto">
          {rest.join('\n')}
        </p>
      )}
    </>
  )
}

/** What stands in place of the picture while there is none: the event's own image or words, else ours. */
export function Cover({ snapshot }: { snapshot: Snapshot }) {
  const { event, phase, error } = snapshot
  const page = pageFor(snapshot)
  if (!page) return null
  const image = page.status && event ? imageFor(event, page.status) : undefined
  const own = page.status && event ? textFor(event, page.status) : undefined
  const before = phase === 'holding' && event !== null
  return (
    <div class={`cover${image ? ' cover-image' : ''}`} data-page={phase}>
      {image && <img class="cover-picture" src={image} alt={own ?? page.title} />}
      <div class={`cover-words${image && !before ? ' visually-hidden' : ''}`}>
        {phase === 'connecting' ? (
          <p class="cover-text">{page.title}</p>
        ) : own ? (
          // With a picture, the words are its alternative text already.
          !image && <OwnWords text={own} />
        ) : (
          !image && (
            <>
              <p class="cover-title">{page.title}</p>
              {page.text && <p class="cover-text">{page.text}</p>}
            </>
          )
        )}
        {before && <Countdown event={event} />}
        {error?.code === 'unsupported' && <p class="cover-detail">{t('player.error_detail', { detail: error.detail })}</p>}
      </div>
    </div>
  )
}
