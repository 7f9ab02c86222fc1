import { useId, useRef, useState } from 'preact/hooks'
import { t, useLanguage, type Key } from '../i18n'
import { eventIdFrom } from '../player/address'
import favicon from '../ui/favicon.svg'
import { LanguageSelect } from '../ui/language-select'
import { page } from './page'

/** The daemon's root: this page stands at it, whatever prefix a proxy put before it. */
const root = new URL('.', location.href).href

const OPTIONS = ['event', 'origin', 'language', 'captions', 'autoplay', 'muted', 'ui_language', 'title', 'fill'] as const

const METHODS =
  'play() pause() setMuted(muted) setVolume(0…1) setLanguage(tag) setCaptions(tag | null) setQuality(height | "auto") ' +
  'seek(secondsBehindLive) goLive() getState() destroy()'
const EVENTS =
  'ready status play pause error languagechange captionschange qualitychange trackschange volumechange time'

function WatchForm() {
  const id = useId()
  const input = useRef<HTMLInputElement>(null)
  const [missing, setMissing] = useState(false)
  return (
    <form
      class="index-form"
      noValidate
      onSubmit={(event) => {
        event.preventDefault()
        const found = eventIdFrom(input.current?.value ?? '')
        setMissing(found === '')
        if (found === '') input.current?.focus()
        else location.assign(new URL(`watch/${encodeURIComponent(found)}${location.search}`, root))
      }}
    >
      <div class="field">
        <label for={id}>{t('index.watch_label')}</label>
        <input
          ref={input}
          id={id}
          class="input"
          autocomplete="off"
          autocapitalize="none"
          spellcheck={false}
          aria-describedby={`${id}-hint${missing ? ` ${id}-error` : ''}`}
          aria-invalid={missing}
          onInput={() => setMissing(false)}
        />
        <span class="field-hint" id={`${id}-hint`}>
          {t('index.watch_hint')}
        </span>
        {missing && (
          <span class="field-error" id={`${id}-error`}>
            {t('index.watch_missing')}
          </span>
        )}
      </div>
      <button class="button button-primary" type="submit">
        {t('index.watch_action')}
      </button>
    </form>
  )
}

function Code({ text, label }: { text: string; label: string }) {
  // Scrolls sideways on narrow screens, so the keyboard must reach it.
  return (
    <pre class="code" tabIndex={0} role="region" aria-label={label}>
      <code>{text}</code>
    </pre>
  )
}

function Index() {
  useLanguage()
  const frame = `<iframe src="${root}embed/EVENT_ID"\n        allow="autoplay; fullscreen; picture-in-picture" title="Live"\n        width="960" height="540"></iframe>`
  const script = `<div id="player"></div>\n<script src="${root}player.js"></script>\n<script>\n  const player = Boothcast.player(document.getElementById('player'), {\n    event: 'EVENT_ID', language: 'de', captions: 'de', muted: false,\n  })\n  player.on('status', ({ status }) => console.log(status))\n  player.on('languagechange', ({ language }) => console.log(language))\n  document.querySelector('#french').onclick = () => player.setLanguage('fr')\n</script>`
  return (
    <>
      <main class="index">
        <header class="index-head">
          <div class="index-brand">
            <img src={favicon} alt="" />
            <h1>{t('index.title')}</h1>
          </div>
          <p class="index-lead">{t('index.lead')}</p>
        </header>
        <div class="index-two">
          <section class="card">
            <h2>{t('index.watch_title')}</h2>
            <WatchForm />
          </section>
          <section class="card">
            <h2>{t('index.api_title')}</h2>
            <p>{t('index.api_text')}</p>
            <p>
              <a class="button" href={new URL('api/docs', root).href}>
                {t('index.api_link')}
              </a>
            </p>
          </section>
        </div>
        <section class="card" id="embed">
          <h2>{t('index.embed_title')}</h2>
          <p>{t('index.embed_text')}</p>
          <Code text={frame} label={t('index.embed_text')} />
          <p>{t('index.embed_script')}</p>
          <Code text={script} label={t('index.embed_script')} />
          <h3>{t('index.embed_options')}</h3>
          <table class="table">
            <thead>
              <tr>
                <th scope="col">{t('index.embed_option')}</th>
                <th scope="col">{t('index.embed_meaning')}</th>
              </tr>
            </thead>
            <tbody>
              {OPTIONS.map((option) => (
                <tr key={option}>
                  <td>
                    <code>{option}</code>
                  </td>
                  <td>{t(`option.${option}` satisfies Key)}</td>
                </tr>
              ))}
            </tbody>
          </table>
          <h3>{t('index.embed_methods')}</h3>
          <p>
            <code>{METHODS}</code>
            <br />
            {t('api.methods')}
          </p>
          <h3>{t('index.embed_events')}</h3>
          <p>
            <code>{EVENTS}</code>
            <br />
            {t('api.events')}
          </p>
          <p>
            {t('index.embed_full')} <a href={new URL('player.js', root).href}>player.js</a>.
          </p>
        </section>
      </main>
      <footer class="footer">
        <span>
          {t('app.tagline')} · <a href={new URL('assets/licences.txt', root).href}>{t('index.licences')}</a>
        </span>
        <LanguageSelect />
      </footer>
    </>
  )
}

void page(() => <Index />)
