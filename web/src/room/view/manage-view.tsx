/** The management room: every booth with its people, lamp, level and controls; picture, one thing to listen to, and chat. */
import type { RefObject } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import { t } from '../../i18n'
import { useStore } from '../../store'
import { Icon } from '../../ui/icons'
import { LanguageSelect } from '../../ui/language-select'
import { FLOOR_OFF_DB, type ManageRoom } from '../manage'
import type { Booth, Person } from '../protocol'
import { Clock, GradeDot, gradeText, Lamp, LevelMeter, milliseconds, Notice, percent, Range, RoomPicture, useEntered } from './bits'
import { Chat } from './chat'
import { NameForm } from './join'
import { ClosedRoom, soundText, statusText } from './status'

export function ManageJoin({ room }: { room: ManageRoom }) {
  const info = useStore(room.store, (value) => value.info)
  if (!info) return null
  return (
    <div class="join">
      <main class="join-main join-narrow">
        <header class="join-head">
          <p class="join-kicker">{t('manage.title')}</p>
          <h1 dir="auto">{info.event.name}</h1>
        </header>
        <section class="card" aria-label={t('join.who')}>
          <NameForm initial={room.preferences.value.name} action={t('manage.action')} onJoin={(name) => room.join(name)} />
        </section>
      </main>
      <footer class="footer">
        <span>Boothcast</span>
        <LanguageSelect />
      </footer>
    </div>
  )
}

function Figures({ person }: { person: Person }) {
  const { quality } = person
  return (
    <dl class="figures">
      <div>
        <dt>{t('quality.rtt')}</dt>
        <dd>{milliseconds(quality.rtt_ms)}</dd>
      </div>
      <div>
        <dt>{t('quality.jitter')}</dt>
        <dd>{milliseconds(quality.jitter_ms)}</dd>
      </div>
      <div>
        <dt>{t('quality.loss_up')}</dt>
        <dd>{percent(quality.loss_up)}</dd>
      </div>
      <div>
        <dt>{t('quality.loss_down')}</dt>
        <dd>{percent(quality.loss_down)}</dd>
      </div>
    </dl>
  )
}

function Interpreter({ room, person, booths }: { room: ManageRoom; person: Person; booths: readonly Booth[] }) {
  const heardBy = person.listen === 'floor' ? t('listen.floor') : (booths.find((one) => one.language === person.listen)?.name ?? person.listen)
  return (
    <li class={`seat${person.calling ? ' seat-calling' : ''}`} data-person={person.id}>
      <div class="seat-head">
        <Lamp on={person.heard} text="" />
        <strong class="seat-name" dir="auto">
          {person.name}
        </strong>
        <span class="seat-what">
          {person.heard ? t('air.on') : person.cough ? t('air.cough') : person.on_air ? t('people.switched_on') : person.connected ? t('people.ready') : t('people.no_microphone')}
        </span>
        <span class="seat-grade">
          <GradeDot grade={person.quality.grade} /> {gradeText(person.quality.grade)}
        </span>
      </div>
      <p class="seat-facts">
        {t('manage.hears', { source: heardBy })}
        {person.outgoing && person.outgoing !== person.booth && <> · {t('manage.speaks', { language: person.outgoing.toUpperCase() })}</>}
      </p>
      <Figures person={person} />
      {person.calling && (
        <div class="seat-call">
          <span>{t('manage.calls')}</span>
          <button type="button" class="button button-small" onClick={() => room.answer(person.id)}>
            <Icon name="bell" />
            {t('manage.answer')}
            <span class="visually-hidden"> {person.name}</span>
          </button>
        </div>
      )}
    </li>
  )
}

function BoothCard({ room, booth, people, booths }: { room: ManageRoom; booth: Booth; people: readonly Person[]; booths: readonly Booth[] }) {
  const source = useStore(room.store, (value) => value.source)
  const position = booth.floor_level_db === null ? FLOOR_OFF_DB : Math.max(FLOOR_OFF_DB, Math.round(booth.floor_level_db))
  const listening = source === booth.language
  const calling = people.some((person) => person.calling)
  const id = `booth-${booth.language}`
  return (
    <section
      class={`panel card-booth${booth.on_air ? ' card-on' : ''}${calling || booth.slow_down ? ' card-urgent' : ''}`}
      aria-labelledby={id}
      data-booth={booth.language}
    >
      <header class="card-head">
        <h2 id={id}>
          <span lang={booth.language}>{booth.name}</span>
          {booth.second_language && <span class="card-second"> / {booth.second_language.toUpperCase()}</span>}
        </h2>
        <span class="card-lamp">
          <Lamp on={booth.on_air} text={booth.muted ? t('manage.muted') : booth.on_air ? t('air.on') : t('air.off')} />
        </span>
      </header>
      <LevelMeter label={t('manage.level', { booth: booth.name })} read={() => room.core.levels.value.booths[booth.language] ?? -100} />
      {booth.slow_down && (
        <p class="card-flag">
          <Icon name="slow" /> {t('manage.slow_down')}
        </p>
      )}
      {booth.open.length > 1 && (
        <p class="card-flag">
          <Icon name="warning" /> {t('manage.both_open')}
        </p>
      )}
      <ul class="seats">
        {people.length === 0 && <li class="seat-empty">{t('manage.nobody')}</li>}
        {people.map((person) => (
          <Interpreter key={person.id} room={room} person={person} booths={booths} />
        ))}
      </ul>
      <div class="card-controls">
        <button
          type="button"
          class={`button${listening ? ' button-primary' : ''}`}
          aria-pressed={listening}
          onClick={() => room.listen(listening ? null : booth.language)}
        >
          <Icon name="headphones" />
          {listening ? t('manage.listening') : t('manage.listen')}
          <span class="visually-hidden"> {booth.name}</span>
        </button>
        <button
          type="button"
          class={`button${booth.muted ? ' button-muted' : ''}`}
          aria-pressed={booth.muted}
          onClick={() => room.mute(booth.language, !booth.muted)}
        >
          <Icon name={booth.muted ? 'microphoneOff' : 'microphone'} />
          {booth.muted ? t('manage.unmute') : t('manage.mute')}
          <span class="visually-hidden"> {booth.name}</span>
        </button>
      </div>
      <Range
        label={t('manage.floor_level')}
        value={position}
        min={FLOOR_OFF_DB}
        max={0}
        step={1}
        text={position <= FLOOR_OFF_DB ? '−∞ dB' : t('room.db', { db: position })}
        onInput={(value) => room.setFloorLevel(booth.language, value)}
      />
    </section>
  )
}

function Calls({ room, field }: { room: ManageRoom; field: RefObject<HTMLTextAreaElement | null> }) {
  const { state, socket, closed, error, slowDown } = useStore(room.core.store)
  const audible = useStore(room.store, (value) => value.audible)
  const callers = state?.people.filter((person) => person.calling) ?? []
  const slow = state?.booths.filter((booth) => booth.slow_down) ?? []
  const asking = slow.length > 0 ? slow.map((booth) => booth.name) : slowDown ? [state?.booths.find((one) => one.language === slowDown.booth)?.name ?? slowDown.booth] : []
  return (
    <div class="notices" role="status">
      {closed?.reason === 'event' ? (
        <Notice tone="info" icon="clock">
          <p>{t('closed.event')}</p>
        </Notice>
      ) : (
        socket !== 'open' && (
          <Notice tone="bad" icon="signal">
            <p>{socket === 'connecting' ? t('room.connecting') : t('manage.reconnecting')}</p>
          </Notice>
        )
      )}
      {callers.map((person) => (
        <Notice key={person.id} tone="warn" icon="bell">
          <p>{t('manage.call_of', { name: person.name, booth: state?.booths.find((one) => one.language === person.booth)?.name ?? '' })}</p>
          <div class="notice-actions">
            <button type="button" class="button button-primary" onClick={() => room.answer(person.id)}>
              {t('manage.answer')}
            </button>
            {person.booth !== null && (
              <button
                type="button"
                class="button"
                onClick={() => {
                  room.core.openThread(`booth:${person.booth}`)
                  field.current?.focus()
                }}
              >
                {t('manage.write')}
              </button>
            )}
          </div>
        </Notice>
      ))}
      {asking.length > 0 && (
        <Notice tone="warn" icon="slow">
          <p>{t('slow.asked', { booths: asking.join(', ') })}</p>
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

export function Manage({ room }: { room: ManageRoom }) {
  const { state, closed, socket, clockOffset } = useStore(room.core.store)
  const { info, source, volume, rtt_ms } = useStore(room.store)
  const { state: sound, refusal, stream } = useStore(room.listening.store)
  const field = useRef<HTMLTextAreaElement>(null)
  const title = useEntered()
  const calls = state?.people.filter((person) => person.calling).length ?? 0
  const name = state?.event.name ?? info?.event.name ?? ''
  useEffect(() => {
    document.title = `${calls > 0 ? `(${calls}) ` : ''}${t('manage.title')}: ${name} · Boothcast`
  }, [calls, name])
  if (closed && socket === 'closed') return <ClosedRoom closed={closed} onReopen={() => room.core.socket.reopen()} />
  const booths = state?.booths ?? []
  const managers = state?.people.filter((person) => person.role === 'manager') ?? []
  const status = state?.event.status ?? info?.event.status ?? 'inactive'
  const threads = [
    { key: 'all', label: t('chat.all'), name: '' },
    { key: 'managers', label: t('chat.managers'), name: '' },
    ...booths.map((booth) => ({ key: `booth:${booth.language}`, label: booth.language.toUpperCase(), name: t('chat.other', { booth: booth.name }) })),
  ]
  const floor = source === 'floor'
  return (
    <div class="manage">
      <header class="room-head">
        <h1 class="room-title" ref={title} tabIndex={-1}>
          <span class="room-booth">{t('manage.title')}</span>
          <span class="room-event" dir="auto">
            {name}
          </span>
        </h1>
        <div class="room-facts">
          <span class={`pill${status === 'started' ? ' pill-live' : ''}`}>{statusText(status)}</span>
          <Clock offset={clockOffset} />
          <span class="connection-rtt">
            <span class="visually-hidden">{t('quality.rtt')} </span>
            {milliseconds(rtt_ms)}
          </span>
          <LanguageSelect />
        </div>
      </header>
      <main class="manage-main">
        <div class="manage-notices">
          <Calls room={room} field={field} />
        </div>
        <div class="manage-booths">
          {booths.map((booth) => (
            <BoothCard key={booth.language} room={room} booth={booth} booths={booths} people={(state?.people ?? []).filter((person) => person.booth === booth.language)} />
          ))}
        </div>
        <aside class="manage-side" aria-label={t('room.side')}>
          <RoomPicture stream={stream} age={room.listening.picture} label={t('room.picture')} waiting={soundText(sound, refusal)} />
          <div class="manage-listen">
            <button type="button" class={`button${floor ? ' button-primary' : ''}`} aria-pressed={floor} onClick={() => room.listen(floor ? null : 'floor')}>
              <Icon name="headphones" />
              {t('listen.floor')}
            </button>
            <LevelMeter label={t('manage.level_floor')} read={() => room.core.levels.value.floor} />
            <Range label={t('listen.volume')} value={Math.round(volume * 100)} min={0} max={150} step={5} text={`${Math.round(volume * 100)} %`} onInput={(value) => room.setVolume(value / 100)} />
            <p class="field-hint" role="status">
              {source === null
                ? t('manage.hears_nothing')
                : t('manage.hears_now', { source: floor ? t('listen.floor') : (booths.find((one) => one.language === source)?.name ?? source) })}
            </p>
          </div>
          <p class="people-managers">{t('people.managers', { names: managers.map((one) => one.name).join(', ') || '–' })}</p>
          <Chat core={room.core} threads={threads} field={field} />
        </aside>
      </main>
    </div>
  )
}
