import { useId } from 'preact/hooks'
import { LANGUAGES, LANGUAGE_NAMES, setLanguage, t, useLanguage, type Language } from '../i18n'

/** Changes the language of buttons and messages (not the sound). The address remembers it, so that a link carries it. */
export function LanguageSelect() {
  const id = useId()
  const language = useLanguage()
  const change = async (next: Language) => {
    await setLanguage(next)
    const url = new URL(location.href)
    url.searchParams.set('lang', next)
    history.replaceState(null, '', url)
  }
  return (
    <div class="language-select">
      <label for={id}>{t('page.language')}</label>
      <select id={id} class="select" value={language} onChange={(event) => void change(event.currentTarget.value as Language)}>
        {LANGUAGES.map((one) => (
          <option key={one} value={one} lang={one}>
            {LANGUAGE_NAMES[one]}
          </option>
        ))}
      </select>
    </div>
  )
}
