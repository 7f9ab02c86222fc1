/** What the interpreter hears: floor or relay, how loud, in what tone. */
import { t } from '../../i18n'
import { useStore } from '../../store'
import type { BoothRoom } from '../booth'
import type { Relay } from '../protocol'
import { SILENCE_DB } from '../graph'
import { KEY_OF } from '../shortcuts'
import { KeyHint, LevelMeter, Range } from './bits'

export function relayText(relay: Relay): string {
  if (relay.refused !== null) return relay.refused
  if (relay.source === 'floor') return t('listen.floor_hint')
  switch (relay.quality) {
    case 'direct':
      return t('listen.direct')
    case 'relay':
      return t('listen.relay')
    case 'floor':
      return t('listen.nobody')
  }
}

const signed = (value: number): string => t('room.db', { db: value > 0 ? `+${value}` : value })

export function ListenPanel({ room }: { room: BoothRoom }) {
  const { state } = useStore(room.core.store)
  const tone = useStore(room.tone)
  const now = room.me()?.listen ?? 'floor'
  const relays = state?.relays ?? []
  const quality = relays.find((relay) => relay.source === now)?.quality
  return (
    <section class="panel listen" aria-labelledby="listen-title">
      <h2 class="panel-title" id="listen-title">
        {t('listen.title')} <KeyHint>{KEY_OF.next_source}</KeyHint>
      </h2>
      <div class="sources" role="group" aria-labelledby="listen-title">
        {relays.map((relay, i) => (
          <button
            key={relay.source}
            type="button"
            class={`source${relay.source === now ? ' source-on' : ''}`}
            aria-pressed={relay.source === now}
            aria-disabled={relay.refused !== null}
            aria-describedby={`source-${relay.source}`}
            aria-keyshortcuts={relay.source === 'floor' ? `${KEY_OF.floor} ${i + 1}` : String(i + 1)}
            title={relayText(relay)}
            onClick={() => {
              if (relay.refused === null) room.listen(relay.source)
            }}
          >
            <span class="source-name" lang={relay.source === 'floor' ? undefined : relay.source}>
              {relay.source === 'floor' ? t('listen.floor') : relay.name}
            </span>
            <span class={`source-quality source-${relay.refused === null ? relay.quality : 'refused'}`} id={`source-${relay.source}`}>
              {relayText(relay)}
            </span>
          </button>
        ))}
      </div>
      {quality === 'relay' && now !== 'floor' && (
        <p class="listen-warning" role="status">
          {t('listen.relay_warning')}
        </p>
      )}
      <LevelMeter label={t('listen.level')} read={() => room.graph?.meter.read() ?? SILENCE_DB} />
      <div class="ranges">
        <Range
          label={t('listen.volume')}
          value={Math.round(tone.volume * 100)}
          min={0}
          max={150}
          step={5}
          text={`${Math.round(tone.volume * 100)} %`}
          keys="ArrowUp ArrowDown"
          onInput={(value) => room.setTone({ volume: value / 100 })}
        />
        <Range label={t('listen.bass')} value={tone.bass} min={-12} max={12} step={1} text={signed(tone.bass)} keys="B" onInput={(bass) => room.setTone({ bass })} />
        <Range label={t('listen.treble')} value={tone.treble} min={-12} max={12} step={1} text={signed(tone.treble)} keys="V" onInput={(treble) => room.setTone({ treble })} />
      </div>
      <label class="check listen-limiter">
        <input type="checkbox" checked={tone.limiter} aria-keyshortcuts={KEY_OF.limiter} onChange={(event) => room.setTone({ limiter: event.currentTarget.checked })} />
        {t('listen.limiter')} <KeyHint>{KEY_OF.limiter}</KeyHint>
      </label>
    </section>
  )
}
