/** The connection test: who, thirty seconds, a grade with its reasons and what to do about them. */
import { useEffect, useId, useRef, useState } from 'preact/hooks'
import { t } from '../../i18n'
import { useStore } from '../../store'
import { Icon } from '../../ui/icons'
import { LanguageSelect } from '../../ui/language-select'
import type { Figures, Reason } from '../grade'
import { RoomPreferenceStore } from '../prefs'
import type { Probe } from '../probe'
import { gradeText, milliseconds, Notice, percent } from './bits'
import { FailedLink } from './status'

const MAX_FIELD = 200

interface FieldProps {
  name: string
  label: string
  type?: 'text' | 'email'
  autocomplete: 'name' | 'email' | 'address-level2'
  initial: string
  problem: string | null
}

function Field({ name, label, type = 'text', autocomplete, initial, problem }: FieldProps) {
  const id = useId()
  const common = {
    id, name, autocomplete, class: 'input', maxLength: MAX_FIELD, defaultValue: initial, 'aria-invalid': problem !== null,
    'aria-describedby': problem ? `${id}-error` : undefined,
  }
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {type === 'email' ? <input type="email" {...common} /> : <input type="text" {...common} />}
      {problem && (
        <span class="field-error" id={`${id}-error`}>
          {problem}
        </span>
      )}
    </div>
  )
}

function ProbeForm({ probe, preferences }: { probe: Probe; preferences: RoomPreferenceStore }) {
  const form = useRef<HTMLFormElement>(null)
  const [problems, setProblems] = useState<Partial<Record<'name' | 'email', string>>>({})
  const { name, email, place } = preferences.value
  return (
    <form
      class="join-form"
      noValidate
      ref={form}
      onSubmit={(event) => {
        event.preventDefault()
        const data = new FormData(event.currentTarget)
        const text = (key: string) => String(data.get(key) ?? '').trim()
        const who = { name: text('name'), email: text('email'), place: text('place') }
        const found: typeof problems = {}
        if (who.name === '') found.name = t('join.name_missing')
        if (!/^[^\s@]+@[^\s@]+$/.test(who.email)) found.email = t('probe.email_wrong')
        setProblems(found)
        const [first] = Object.keys(found)
        if (first) {
          form.current?.querySelector<HTMLElement>(`[name="${first}"]`)?.focus()
          return
        }
        preferences.set(who)
        probe.run(who)
      }}
    >
      <Field name="name" label={t('join.name')} autocomplete="name" initial={name} problem={problems.name ?? null} />
      <Field name="email" type="email" label={t('probe.email')} autocomplete="email" initial={email} problem={problems.email ?? null} />
      <Field name="place" label={t('probe.place')} autocomplete="address-level2" initial={place} problem={null} />
      <button class="button button-primary join-action" type="submit">
        {t('probe.start')}
      </button>
      <p class="field-hint">{t('probe.privacy')}</p>
    </form>
  )
}

function FigureList({ figures, reasons }: { figures: Figures; reasons: readonly Reason[] }) {
  const worst = (what: Reason['what']) => reasons.find((reason) => reason.what === what)?.grade
  const rows: [Reason['what'], string, string, string][] = [
    ['ping', t('quality.rtt'), milliseconds(figures.ping_ms), t('probe.ideal_ping')],
    ['jitter', t('quality.jitter'), milliseconds(figures.jitter_ms), t('probe.ideal_jitter')],
    ['loss_up', t('quality.loss_up'), percent(figures.loss_up), t('probe.ideal_loss')],
    ['loss_down', t('quality.loss_down'), percent(figures.loss_down), t('probe.ideal_loss')],
  ]
  return (
    <dl class="probe-figures">
      {rows.map(([what, label, value, ideal]) => (
        <div key={what} class={worst(what) ? `probe-${worst(what)}` : ''}>
          <dt>{label}</dt>
          <dd>{value}</dd>
          <dd class="field-hint">{ideal}</dd>
        </div>
      ))}
    </dl>
  )
}

function reasonText({ what, grade }: Reason): string {
  switch (what) {
    case 'ping':
      return t('reason.ping')
    case 'jitter':
      return grade === 'bad' ? t('reason.jitter_bad') : t('reason.jitter')
    case 'loss_up':
      return grade === 'bad' ? t('reason.loss_up_bad') : t('reason.loss_up')
    case 'loss_down':
      return grade === 'bad' ? t('reason.loss_down_bad') : t('reason.loss_down')
  }
}

function Result({ probe }: { probe: Probe }) {
  const { figures, grading, saved } = useStore(probe.store)
  const title = useRef<HTMLHeadingElement>(null)
  useEffect(() => title.current?.focus(), [])
  const grade = grading?.grade ?? null
  const verdict = grade === 'good' ? t('probe.good') : grade === 'average' ? t('probe.average') : t('probe.bad')
  const icon = grade === 'good' ? 'check' : 'warning'
  return (
    <section class="card" aria-labelledby="probe-result">
      <h2 class={`probe-grade probe-grade-${grade ?? 'bad'}`} id="probe-result" ref={title} tabIndex={-1}>
        <Icon name={icon} />
        {gradeText(grade)}
      </h2>
      <p>{verdict}</p>
      <FigureList figures={figures} reasons={grading?.reasons ?? []} />
      {grading && grading.reasons.length > 0 && (
        <>
          <h3>{t('probe.why')}</h3>
          <ul class="probe-list">
            {grading.reasons.map((reason) => (
              <li key={reason.what}>{reasonText(reason)}</li>
            ))}
          </ul>
          <h3>{t('probe.what')}</h3>
          <ul class="probe-list">
            <li>{t('probe.advice_cable')}</li>
            <li>{t('probe.advice_others')}</li>
            <li>{t('probe.advice_vpn')}</li>
            <li>{t('probe.advice_again')}</li>
          </ul>
        </>
      )}
      <p class="field-hint" role="status">
        {saved ? t('probe.saved') : t('probe.not_saved')}
      </p>
      <button type="button" class="button" onClick={() => probe.again()}>
        {t('probe.again')}
      </button>
    </section>
  )
}

export function ProbePage({ probe }: { probe: Probe }) {
  const { stage, failure, progress, figures, detail } = useStore(probe.store)
  const [preferences] = useState(() => new RoomPreferenceStore())
  useEffect(() => {
    document.title = `${t('probe.title')} · Boothcast`
  }, [stage])
  if (failure) return <FailedLink failure={failure} />
  const left = Math.max(0, Math.ceil(probe.seconds * (1 - progress)))
  return (
    <div class="join">
      <main class="join-main join-narrow">
        <header class="join-head">
          <h1>{t('probe.title')}</h1>
          {stage === 'form' && <p class="probe-lead">{t('probe.lead')}</p>}
        </header>
        {stage === 'form' && (
          <section class="card" aria-label={t('join.who')}>
            <ProbeForm probe={probe} preferences={preferences} />
          </section>
        )}
        {(stage === 'connecting' || stage === 'running' || stage === 'saving') && (
          <section class="card" aria-label={t('probe.title')}>
            <p class="probe-doing" role="status">
              {stage === 'connecting' ? t('page.connecting') : stage === 'running' ? t('probe.running') : t('probe.saving')}
            </p>
            <progress class="probe-progress" max={1} value={stage === 'connecting' ? 0 : progress} aria-label={t('probe.progress')} />
            <p class="field-hint">{t('probe.left', { seconds: left })}</p>
            <FigureList figures={figures} reasons={[]} />
          </section>
        )}
        {stage === 'failed' && (
          <section class="card" aria-label={t('probe.title')}>
            <div role="alert">
              <Notice tone="bad">
                <p>{detail || t('probe.failed')}</p>
              </Notice>
            </div>
            <p>{t('probe.failed_hint')}</p>
            <button type="button" class="button button-primary" onClick={() => probe.again()}>
              {t('probe.again')}
            </button>
          </section>
        )}
        {stage === 'done' && <Result probe={probe} />}
      </main>
      <footer class="footer">
        <span>Boothcast</span>
        <LanguageSelect />
      </footer>
    </div>
  )
}
