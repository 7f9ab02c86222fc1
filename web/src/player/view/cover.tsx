import { useEffect, useState } from 'preact/hooks'
import { t, translation } from '../../i18n'
import { Icon } from '../../ui/icons'
import { countdownParts } from '../time'
import type { EventState, PageName } from '../state'
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
  const date = new Intl.DateTimeFormat(language, { dateStyle: 'full', timeStyle: 'short' }).format(event.scheduledStart)
  const over = left <= 0
  const counts = event.countdown === 'until_started' || (event.countdown === 'until_scheduled' && !over)
  return (
    <>
      {counts && (
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
  name: PageName | null
  title: string
  text: string
}

function pageFor(snapshot: Snapshot): Page | null {
  if (snapshot.error?.code === 'unsupported') {
    return { name: null, title: t('player.unsupported_title'), text: t('player.unsupported_text') }
  }
  switch (snapshot.phase) {
    case 'connecting':
      return { name: null, title: t('page.connecting'), text: '' }
    case 'holding':
      return { name: 'before', title: t('page.holding_title'), text: '' }
    case 'paused':
      return { name: 'paused', title: t('page.paused_title'), text: t('page.paused_text') }
    case 'ended':
      return { name: 'ended', title: t('page.ended_title'), text: t('page.ended_text') }
    case 'gone':
      return { name: null, title: t('page.gone_title'), text: t('page.gone_text') }
    case 'denied':
      return { name: null, title: t('page.denied_title'), text: t('page.denied_text') }
    case 'live':
    case 'draining':
      return null
  }
}

/** What stands in place of the picture while there is none: the event's own image or words, else ours. */
export function Cover({ snapshot }: { snapshot: Snapshot }) {
  const { event, phase, error } = snapshot
  const page = pageFor(snapshot)
  if (!page) return null
  const image = page.name && event ? event.images[page.name] : undefined
  const own = page.name && event ? event.texts[page.name] : undefined
  const before = page.name === 'before' && event !== null
  return (
    <div class={`cover${image ? ' cover-image' : ''}`} data-page={phase}>
      {image && <img class="cover-picture" src={image} alt={own ?? page.title} />}
      <div class={`cover-words${image && !before ? ' visually-hidden' : ''}`}>
        {phase === 'connecting' ? (
          <p class="cover-text">{page.title}</p>
        ) : own ? (
          // With a picture, the words are its alternative text already.
          !image && <p class="cover-title cover-own" dir="auto">{own}</p>
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
